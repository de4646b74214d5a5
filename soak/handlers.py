"""The soak worker's handler and its model: real metering and real events, known durations and ends."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from soak.journal import Journal
from soak.plan import NANO_USD_PER_TOKEN, Fate, Orders, orders_of, tokens_of
from sophia.inference.base import ChatAnswer, ChatDelta, DeploymentStatus, EmbeddingAnswer, ModelCard, Reply
from sophia.nouns.errors import InvalidInput, RateLimited, Unavailable
from sophia.nouns.payloads import LightAnswer
from sophia.nouns.usage import Usage
from sophia.worker.context import Handler, TaskContext
from tests.support.waiting import eventually

FOREVER_S = 3_600.0
POSTPONED_S = 40.0
USD_PER_1K = NANO_USD_PER_TOKEN * 1_000 / 1_000_000_000
CARD = ModelCard(
    id="abacus",
    kind="chat",
    provider="soak",
    upstream_model="abacus",
    context_tokens=100_000,
    usd_per_1k_input_tokens=USD_PER_1K,
    usd_per_1k_output_tokens=USD_PER_1K,
)


class Abacus:
    """Implements ``Models``: uses as many tokens as its message says."""

    def cards(self) -> Sequence[ModelCard]:
        return [CARD]

    def resolve(self, model: str | None, *, kind: str, tier: str = "fast") -> ModelCard:
        return CARD

    async def stream_chat(
        self, card: ModelCard, messages: Sequence[Mapping[str, Any]], **params: Any
    ) -> AsyncIterator[ChatDelta]:
        read, written = messages[0]["content"].split()
        usage = Usage(input_tokens=int(read), output_tokens=int(written), model_calls=1)
        yield ChatDelta(text="counted", finish_reason="stop", usage=usage)

    async def chat(self, card: ModelCard, messages: Sequence[Mapping[str, Any]], **params: Any) -> ChatAnswer:
        raise Unavailable("this model streams only")

    async def embed(self, card: ModelCard, texts: Sequence[str]) -> EmbeddingAnswer:
        raise Unavailable("this model chats only")

    def deployments(self, card: ModelCard) -> Sequence[DeploymentStatus]:
        return ()

    async def forward(self, card: ModelCard, path: str, body: Mapping[str, Any]) -> Reply:
        raise Unavailable("this model has no upstream")

    async def close(self) -> None:
        """Nothing is open."""


def handler(journal: Journal, mended: Path, released: Path) -> Handler:
    """``mended``, ``released``: files whose presence makes hopeless tasks succeed and held ones go on."""

    async def run(context: TaskContext, payload: Any) -> LightAnswer:
        orders = orders_of(payload)
        journal.write(orders.number, context.attempt, "begin")
        try:
            await _work(context, orders, mended, released)
        except asyncio.CancelledError:
            journal.write(orders.number, context.attempt, "stopped")
            raise
        except Exception:
            journal.write(orders.number, context.attempt, "error")
            raise
        journal.write(orders.number, context.attempt, "result")
        return LightAnswer(
            text=result_text(orders.number, context.attempt, os.getpid()), finish_reason="stop", model=""
        )

    return run


def result_text(number: int, attempt: int, pid: int) -> str:
    return f"task {number} attempt {attempt} process {pid}"


async def _work(context: TaskContext, orders: Orders, mended: Path, released: Path) -> None:
    read, written = tokens_of(orders.number, context.attempt)
    # Every third shows its output while it comes: an event of the running attempt.
    await context.chat([{"content": f"{read} {written}"}], show=orders.number % 3 == 0)
    await asyncio.sleep(orders.work_ms / 1000)
    if orders.fate in (Fate.CANCELLED, Fate.SLOW):
        await asyncio.sleep(FOREVER_S)
    if orders.fate is Fate.HELD:
        await eventually(released.exists, FOREVER_S)
    if orders.fate is Fate.POSTPONED and context.attempt == 1:
        raise RateLimited("later", retry_after_s=POSTPONED_S)
    if orders.fate is Fate.REFUSED:
        raise InvalidInput("this will never work")
    if orders.fate is Fate.BUG:
        raise ZeroDivisionError
    hopeless = orders.fate is Fate.HOPELESS and not _is_there(mended)
    if hopeless or context.attempt <= orders.failures:
        raise Unavailable("not now")


def _is_there(path: Path) -> bool:
    return path.exists()
