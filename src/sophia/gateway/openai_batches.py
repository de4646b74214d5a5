"""``/v1/batches``: made, listed and cancelled here; the router's leader carries them out."""

from __future__ import annotations

import re

import msgspec
from starlette.responses import Response

from sophia.decisions.batch_lines import KINDS
from sophia.gateway.body import decode, read_body
from sophia.gateway.deps import Call
from sophia.gateway.file_schemas import (
    BatchErrors,
    BatchErrorView,
    BatchObject,
    BatchObjects,
    BatchRequest,
    BatchUsage,
    InputTokenDetails,
    OutputTokenDetails,
    RequestCounts,
)
from sophia.gateway.openai_files import after, find_file
from sophia.gateway.query import number
from sophia.gateway.responses import json_answer
from sophia.nouns.batches import BATCHES_SNAPSHOT, Batch, BatchStatus, Purpose
from sophia.nouns.errors import Conflict, InvalidInput, NotFound, Unavailable

MAX_LIST, DEFAULT_LIST = 100, 20
CANCEL_TRIES = 10
DAY_S = 86_400
_BATCH_ID = re.compile(r"^batch_[0-9a-f]{32}$")
_CANCELLABLE = frozenset({BatchStatus.VALIDATING, BatchStatus.IN_PROGRESS})


async def create_batch(call: Call) -> Response:
    request = decode(await read_body(call.request, call.settings.server.max_body_bytes), BatchRequest)
    file = await find_file(call, request.input_file_id, "input_file_id")
    if file.purpose is not Purpose.BATCH:
        raise InvalidInput(
            f"the purpose of this file is {file.purpose.value!r}", field="input_file_id", mend="a file of purpose batch"
        )
    limits, now_ms = call.settings.batches, call.deps.clock.now_ms()
    keep = request.output_expires_after
    batch = Batch(
        id=f"batch_{call.context.ids.new(now_ms)}",
        tenant=call.tenant,
        endpoint=request.endpoint,
        input_file_id=file.id,
        completion_window=request.completion_window,
        created_at_ms=now_ms,
        expires_at_ms=now_ms + round(limits.window_s * 1000),
        models=_models(call, KINDS[request.endpoint]),
        output_ttl_s=round(limits.keep_days * DAY_S) if keep is None else keep.seconds,
        metadata=request.metadata,
    )
    await call.deps.batches.add_batch(batch)
    await _tell(call, batch)
    return json_answer(_view(batch))


async def list_batches(call: Call) -> Response:
    limit = int(number(call, "limit", DEFAULT_LIST, 1, MAX_LIST, whole=True))
    found = await call.deps.batches.batches(call.tenant, after(call, _BATCH_ID), limit + 1)
    page = [_view(batch) for batch in found[:limit]]
    return json_answer(
        BatchObjects(
            object="list",
            data=page,
            first_id=page[0].id if page else None,
            last_id=page[-1].id if page else None,
            has_more=len(found) > limit,
        )
    )


async def get_batch(call: Call) -> Response:
    return json_answer(_view(await _find(call)))


async def cancel_batch(call: Call) -> Response:
    """What has not begun is stopped; what runs ends, and its output is kept. Asking again changes nothing."""
    for _ in range(CANCEL_TRIES):
        batch = await _find(call)
        if batch.status in (BatchStatus.CANCELLING, BatchStatus.CANCELLED):
            return json_answer(_view(batch))
        if batch.status not in _CANCELLABLE:
            raise Conflict(f"the batch is {batch.status.value} and cannot be cancelled any more")
        changed = msgspec.structs.replace(
            batch,
            version=batch.version + 1,
            status=BatchStatus.CANCELLING,
            cancelling_at_ms=call.deps.clock.now_ms(),
        )
        # Whoever carries it out may have changed it meanwhile.
        if await call.deps.batches.save_batch(changed):
            await _tell(call, changed)
            return json_answer(_view(changed))
    raise Unavailable("the batch changes too fast; ask again", retry_after_s=1)


async def _find(call: Call) -> Batch:
    batch_id = call.request.path_params["batch_id"]
    known = _BATCH_ID.match(batch_id) is not None
    batch = await call.deps.batches.batch(call.tenant, batch_id) if known else None
    if batch is None:
        raise NotFound(f"there is no batch {batch_id[:64]!r}", field="batch_id", mend="an `id` from `GET /v1/batches`")
    return batch


async def _tell(call: Call, batch: Batch) -> None:
    """Wake who carries batches out; without it, it would look in some minutes only."""
    await call.deps.events.put_snapshot(BATCHES_SNAPSHOT, f"{batch.id} {batch.version}".encode())


def _models(call: Call, kind: str) -> tuple[str, ...]:
    """What a line may name: models of the kind that are in use and that the key may ask, and tiers that are served by
    one of them."""
    models, allowed = call.deps.models, call.holder.limits.models
    cards = [card for card in models.cards() if card.kind == kind]
    names = {card.id: card.id for card in cards}
    for tier in dict.fromkeys(tier for card in cards for tier in card.tiers):
        names.setdefault(tier, models.resolve(None, kind=kind, tier=tier).id)
    return tuple(name for name, model in names.items() if not allowed or model in allowed)


def _view(batch: Batch) -> BatchObject:
    def ended(status: BatchStatus) -> int | None:
        return _seconds(batch.ended_at_ms) if batch.status is status else None

    errors = [
        BatchErrorView(code=fault.code, message=fault.message, param=fault.param, line=fault.line)
        for fault in batch.errors
    ]
    return BatchObject(
        id=batch.id,
        object="batch",
        endpoint=batch.endpoint,
        model=batch.model,
        errors=BatchErrors(object="list", data=errors) if errors else None,
        input_file_id=batch.input_file_id,
        completion_window=batch.completion_window,
        status=batch.status.value,
        output_file_id=batch.output_file_id,
        error_file_id=batch.error_file_id,
        created_at=batch.created_at_ms // 1000,
        in_progress_at=_seconds(batch.in_progress_at_ms),
        expires_at=batch.expires_at_ms // 1000,
        finalizing_at=_seconds(batch.finalizing_at_ms),
        completed_at=ended(BatchStatus.COMPLETED),
        failed_at=ended(BatchStatus.FAILED),
        expired_at=ended(BatchStatus.EXPIRED),
        cancelling_at=_seconds(batch.cancelling_at_ms),
        cancelled_at=ended(BatchStatus.CANCELLED),
        request_counts=RequestCounts(total=batch.total, completed=batch.completed, failed=batch.failed),
        usage=_usage(batch),
        metadata=batch.metadata,
        waits_for=batch.waits_for,
    )


def _usage(batch: Batch) -> BatchUsage:
    tokens = batch.tokens
    return BatchUsage(
        input_tokens=tokens.input_tokens,
        input_tokens_details=InputTokenDetails(cached_tokens=tokens.cached_tokens),
        output_tokens=tokens.output_tokens,
        output_tokens_details=OutputTokenDetails(reasoning_tokens=tokens.reasoning_tokens),
        total_tokens=tokens.input_tokens + tokens.output_tokens,
    )


def _seconds(ms: int | None) -> int | None:
    return None if ms is None else ms // 1000
