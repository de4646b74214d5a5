"""How calls of a model are spread over those who serve it, and what happens when one of them fails."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from sophia.settings.fields import CountFrom1, Name, NotNegative, Positive, Section

Share = Annotated[float, msgspec.Meta(gt=0, le=1)]
Status = Annotated[int, msgspec.Meta(ge=400, le=599)]


class DeploymentSettings(Section, frozen=True, kw_only=True):
    """A model at one provider. Times that are not given are the provider's."""

    model: str
    """The name that the provider knows it by."""
    provider: Name | None = None
    """Default: this entry's own name. Given, a provider can serve a model in two ways."""
    order: Annotated[int, msgspec.Meta(ge=0)] | None = None
    """Lower ones are asked first; those of the same order share the calls by weight. Default: the place in the list."""
    weight: Positive = 1.0
    connect_timeout_s: Positive | None = None
    first_token_timeout_s: Positive | None = None
    idle_timeout_s: Positive | None = None
    answer_timeout_s: Positive | None = None


class FallbackSettings(Section, frozen=True, kw_only=True):
    """When another deployment, or the same one once more, is asked. Nothing is asked again once a byte of the answer
    went out."""

    statuses: tuple[Status | Literal["5xx"], ...] = (408, 429, "5xx")
    """Of an answer that is not taken for the answer; no connection and no answer in time are the same. ``5xx`` is all
    of them but 501."""
    retries: Annotated[int, msgspec.Meta(ge=0)] = 1
    """How often one deployment is asked again. One that did not answer in time is asked again only when it is the last
    one."""
    retry_base_s: Positive = 0.2
    """Wait before the first retry where the provider names none; doubled with each, with jitter."""
    retry_wait_max_s: NotNegative = 2.0
    """The longest Retry-After that is waited out; after a longer one the next deployment is asked."""
    deadline_s: Positive = 900.0
    """For all attempts together, until the answer begins (streamed) or is there (not streamed)."""


class BreakerSettings(Section, frozen=True, kw_only=True):
    """When a deployment that fails is left alone, and for how long. Failures: no connection, no answer in time, 5xx and
    answers that break off; a refusal of the request is none, and neither is 429."""

    failures: CountFrom1 = 5
    """In a row."""
    share: Share = 0.5
    """Or this share of the calls within ``window_s`` ..."""
    calls: CountFrom1 = 20
    """... if there were so many at least."""
    window_s: Positive = 30.0
    open_s: Positive = 1.0
    """After it one call decides; each further failure doubles it ..."""
    open_max_s: Positive = 30.0
    """... up to this."""
