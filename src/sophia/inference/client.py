"""What a deployment needs of whoever speaks to its provider."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec

from sophia.inference.base import Reply
from sophia.nouns.errors import Unavailable
from sophia.settings.deployments import DeploymentSettings
from sophia.settings.inference import ProviderSettings

CHAT_PATH = "/chat/completions"
EMBEDDINGS_PATH = "/embeddings"


class Late(Unavailable):
    """No answer in time."""


class Saturated(Unavailable):
    """We did not even ask: as many calls as may be are under way."""


class ServerDown(Unavailable):
    """One of several servers cannot be reached, and none of the others could be tried instead."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    connect_s: float
    first_token_s: float
    idle_s: float
    answer_s: float


def limits_of(provider: ProviderSettings, deployment: DeploymentSettings | None = None) -> Limits:
    def either(name: str) -> float:
        own = getattr(deployment, name) if deployment is not None else None
        return float(getattr(provider, name) if own is None else own)

    return Limits(
        connect_s=either("connect_timeout_s"),
        first_token_s=either("first_token_timeout_s"),
        idle_s=either("idle_timeout_s"),
        answer_s=either("answer_timeout_s"),
    )


class Answer(Reply, Protocol):
    """A ``Reply`` while it may still be given up for another deployment's."""

    provider: str
    on_end: Callable[[bool], None] | None
    """Called once, when it is over; with True when it broke off."""

    async def begin(self) -> bytes:
        """Wait for the first bytes of a stream, else for the whole body; they stay to be read. Raises ``Unavailable``."""

    def mark(self, headers: Mapping[str, str]) -> None:
        """Add headers of ours."""


class Client(Protocol):
    async def forward(self, path: str, body: Mapping[str, Any], limits: Limits, left_s: float) -> Answer:
        """Send an OpenAI-shaped request and wait for the headers of its answer, for ``left_s`` at most. Raises
        ``Unavailable``, ``UpstreamError`` when the provider cannot be asked at all, ``InvalidInput`` when it has no way
        to do what the request wants."""

    async def close(self) -> None: ...
