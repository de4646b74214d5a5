"""Batches carried out in the test's own process: a router and a worker behind the gateway of ``gateways``."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

import openai

from sophia.nouns.clock import Clock, SystemClock
from sophia.router.batches import BatchKeeper
from sophia.router.service import Router
from sophia.router.sweep import Sweeper
from sophia.worker.handlers import HANDLERS
from sophia.worker.runtime import Worker
from tests.support.gateways import Platform
from tests.support.waiting import eventually

FINAL = frozenset({"completed", "failed", "expired", "cancelled"})


class ShiftedClock(SystemClock):
    """The time of day, and ``ahead_ms``."""

    ahead_ms = 0

    def now_ms(self) -> int:
        return super().now_ms() + self.ahead_ms


def new_router(platform: Platform, clock: Clock, name: str = "router-1") -> Router:
    settings = platform.loaded.settings

    def keeper() -> BatchKeeper:
        return BatchKeeper(
            platform.ledger.batches,
            platform.ledger.files,
            packing=platform.packing,
            intake=platform.intake,
            queue=platform.queue,
            events=platform.events,
            settings=settings,
            clock=clock,
            look_every_s=0.2,
        )

    return Router(
        name,
        queue=platform.queue,
        upkeep=platform.upkeep,
        events=platform.events,
        ledger=platform.ledger,
        intake=platform.intake,
        sweeper=Sweeper(platform.objects, platform.ledger, SystemClock()),
        pools=None,
        settings=settings,
        clock=SystemClock(),
        new_batches=keeper,
    )


@contextlib.asynccontextmanager
async def routed(platform: Platform, clock: Clock | None = None) -> AsyncIterator[None]:
    """``clock``: what whoever carries batches out takes for the time."""
    router = new_router(platform, clock or SystemClock())
    running = asyncio.create_task(router.run())
    try:
        yield
    finally:
        router.stop()
        await asyncio.wait_for(running, 30)


@contextlib.asynccontextmanager
async def worked(platform: Platform, slots: int = 4) -> AsyncIterator[None]:
    worker = Worker(
        "batch-worker",
        "cpu-workers",
        ["batch"],
        slots,
        queue=platform.work,
        models=platform.models,
        settings=platform.loaded.settings,
        handlers=HANDLERS,
        clock=SystemClock(),
        drain_s=5.0,
        packing=platform.packing,
    )
    running = asyncio.create_task(worker.run())
    try:
        yield
    finally:
        worker.stop()
        await asyncio.wait_for(running, 30)


def jsonl(lines: Iterable[Mapping[str, Any] | str]) -> bytes:
    return b"".join((line if isinstance(line, str) else json.dumps(line)).encode() + b"\n" for line in lines)


def chat_line(custom_id: str, text: str, **more: Any) -> dict[str, Any]:
    body = {"model": "fast", "messages": [{"role": "user", "content": text}], "max_tokens": 4, **more}
    return {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body}


def embedding_line(custom_id: str, text: str, **more: Any) -> dict[str, Any]:
    body = {"model": "all-minilm-l6-v2", "input": text, **more}
    return {"custom_id": custom_id, "method": "POST", "url": "/v1/embeddings", "body": body}


async def make_batch(client: openai.AsyncOpenAI, content: bytes, endpoint: Any, **more: Any) -> openai.types.Batch:
    file = await client.files.create(file=("requests.jsonl", content), purpose="batch")
    return await client.batches.create(input_file_id=file.id, endpoint=endpoint, completion_window="24h", **more)


async def ended(client: openai.AsyncOpenAI, batch: openai.types.Batch, timeout_s: float = 60) -> openai.types.Batch:
    async def look() -> openai.types.Batch | None:
        try:
            now = await client.batches.retrieve(batch.id)
        except (openai.APIConnectionError, openai.InternalServerError):
            return None  # it is being killed and started again
        return now if now.status in FINAL else None

    found: openai.types.Batch = await eventually(look, timeout_s)
    return found


async def lines_of(client: openai.AsyncOpenAI, file_id: str | None) -> list[dict[str, Any]]:
    if file_id is None:
        return []
    content = await client.files.content(file_id)
    return [json.loads(line) for line in content.text.splitlines()]
