"""A model server on an instance of ours."""

from __future__ import annotations

import msgspec


class Endpoint(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where one model is served by one instance of a pool."""

    id: str
    """Of this server and model; announcing it again replaces what was known."""
    model: str
    """As the configuration names it, and as the server does (``--served-model-name``)."""
    url: str
    """Base of its OpenAI paths, without a slash at the end: ``http://10.0.0.7:8000/v1``. ``/health`` and ``/metrics``
    stand beside ``/v1``."""
    pool: str
    instance: str
    ready: bool = False
    """It answers requests. One that is not ready says that somebody is starting."""
    draining: bool = False
    """It ends what it has and takes nothing new."""
    expires_at_ms: int = 0
    """By the registry's clock, which sets it."""
