"""The tasks that a batch is carried out in.

A task for each chunk of lines (``batches.chunk_requests``, 32), not for each line: a task costs the queue about 1.5 KB and
the ledger a row, so 50,000 lines are 1,563 tasks and 2.3 MB instead of 75 MB; and a chunk is what a crash makes a worker
do again, so it is not larger either. Their priority is the lowest and their deadline the end of the batch's window, so
that a pool that may defer its work can wait for cheap capacity.
"""

from __future__ import annotations

import hashlib

import msgspec

from sophia.decisions.route import route
from sophia.nouns.batches import Batch, BatchChunk, FilePart
from sophia.nouns.budget import Budget, Reservation
from sophia.nouns.task import Durability, Priority, Task, TaskType, Tier
from sophia.nouns.usage import NANO_USD_PER_USD
from sophia.settings.inference import ModelSettings
from sophia.settings.model import Settings

MAX_ATTEMPTS = 100
"""The deadline is what ends it: a provider may be gone for hours of the window."""
LABEL = "batch"


def chunk_task(
    batch: Batch,
    number: int,
    part: FilePart,
    *,
    task_id: str,
    now_ms: int,
    settings: Settings,
    worst_case: tuple[int, int] | None,
) -> Task:
    """Chunk ``number`` of a batch as a task. ``worst_case``: tokens in and out that it may use, for a tenant with caps
    (see ``needs_worst_case``). Asked again it asks for the same, whatever the time: its idempotency key finds the
    first one."""
    payload = BatchChunk(
        title=f"{part.requests} {'request' if part.requests == 1 else 'requests'} of {batch.id}",
        batch_id=batch.id,
        endpoint=batch.endpoint,
        part=part,
        price_factor=settings.batches.price_factor,
    )
    budget, reserved = _reserved(batch, settings, worst_case)
    asked = hashlib.sha256(msgspec.json.encode((payload, budget))).hexdigest()[:16]
    return Task(
        id=task_id,
        type=TaskType.OPENAI_BATCH,
        payload=msgspec.to_builtins(payload),
        route=route(type=TaskType.OPENAI_BATCH, tier=Tier.FAST, payload=payload, rules=settings.routes),
        submitted_at_ms=now_ms,
        tenant=batch.tenant,
        priority=Priority.LOW,
        budget=budget,
        reserved=reserved,
        deadline_at_ms=batch.expires_at_ms,
        max_attempts=MAX_ATTEMPTS,
        # Settings that have changed since ask for another task: the same key would be a conflict.
        idempotency_key=f"{batch.id}:{number}:{asked}",
        labels={LABEL: batch.id},
        durability=Durability.LEDGER,
    )


def needs_worst_case(batch: Batch, settings: Settings) -> bool:
    caps = settings.tenants.get(batch.tenant)
    return caps is not None and (caps.budget.caps_usd or caps.budget.caps_tokens)


def _reserved(
    batch: Batch, settings: Settings, worst_case: tuple[int, int] | None
) -> tuple[Budget, Reservation | None]:
    caps = settings.tenants.get(batch.tenant)
    if worst_case is None or caps is None:
        return Budget(), None
    tokens_in, tokens_out = worst_case
    model = _dearest(batch, settings)
    usd = 0.0
    if model is not None:
        usd = (tokens_in * model.usd_per_1k_input_tokens + tokens_out * model.usd_per_1k_output_tokens) / 1000
    usd *= settings.batches.price_factor
    budget = Budget(
        max_usd=usd if caps.budget.caps_usd else None,
        max_tokens=max(1, tokens_in + tokens_out) if caps.budget.caps_tokens else None,
    )
    return budget, Reservation(
        nano_usd=round((budget.max_usd or 0.0) * NANO_USD_PER_USD), tokens=budget.max_tokens or 0
    )


def _dearest(batch: Batch, settings: Settings) -> ModelSettings | None:
    """Of the models that the batch may name."""
    named = [batch.model] if batch.model in settings.models else batch.models
    known = [settings.models[name] for name in named if name is not None and name in settings.models]
    return max(known, key=lambda model: model.usd_per_1k_output_tokens + model.usd_per_1k_input_tokens, default=None)
