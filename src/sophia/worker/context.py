"""What a handler is given, and what a handler is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from sophia.inference.base import ChatAnswer, EmbeddingAnswer, ModelCard
from sophia.nouns.objects import ObjectRef
from sophia.nouns.task import Task
from sophia.settings.model import Settings


class TaskContext(Protocol):
    """One attempt, seen from its handler.

    Every model call goes through it, so that usage is metered, the task's budget is checked before and after each
    call (``BudgetExceeded``), and streamed text is shown while it comes. When the task is cancelled, times out or
    its lease is lost, the handler's asyncio task is cancelled: let ``CancelledError`` pass.
    """

    task: Task
    attempt: int
    settings: Settings

    async def progress(self, done: int, total: int, note: str = "") -> None:
        """Say how far it is: ``done`` of ``total`` units, with a note in words."""

    async def chat(
        self,
        messages: Sequence[dict[str, Any]],
        *,
        model: str | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        json_schema: dict[str, Any] | None = None,
        variety: float | None = None,
        show: bool = True,
    ) -> ChatAnswer:
        """One chat call. ``None`` takes the task type's configured default; with ``json_schema`` the answer's text
        is constrained to it; ``variety`` penalizes what was said already (OpenAI's frequency and presence penalty); with ``show`` the text is streamed to those who watch the task."""

    async def embed(self, texts: Sequence[str], *, model: str | None = None) -> EmbeddingAnswer:
        """Embed at most ``settings.embedding.batch_texts`` texts."""

    def card(self, model: str | None, kind: str) -> ModelCard: ...

    async def forward(self, request: ForwardRequest) -> ForwardAnswer:
        """A request of OpenAI's API as somebody wrote it, with the provider's answer as it is, error statuses included;
        metered like every other call."""

    async def fetch(self, ref: ObjectRef) -> bytes:
        """A stored value."""

    async def keep(self, body: bytes) -> ObjectRef:
        """Store a value that the result refers to."""


class ForwardRequest(msgspec.Struct, frozen=True, kw_only=True):
    path: str
    """``/chat/completions`` or ``/embeddings``."""
    kind: str
    """Of the model."""
    body: dict[str, Any]
    price_factor: float = 1.0
    """Of the model's prices."""


class ForwardAnswer(msgspec.Struct, frozen=True, kw_only=True):
    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes


Handler = Callable[[TaskContext, Any], Awaitable[msgspec.Struct]]
"""Takes the context and the decoded payload struct of its type; returns the result struct of its type."""
