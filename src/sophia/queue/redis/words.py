"""What workers report, as the scripts take it."""

from __future__ import annotations

from typing import Any

import msgspec

from sophia.nouns.task import Attempt, AttemptOutcome
from sophia.queue.base import Emission, Settlement

_encode = msgspec.json.Encoder()


def emission_args(emission: Emission) -> tuple[Any, ...]:
    lease = emission.lease
    return (lease.task.id, lease.worker, lease.attempt, emission.kind, _encode.encode(emission.data))


def settlement_args(settlement: Settlement) -> tuple[Any, ...]:
    lease, outcome = settlement.lease, settlement.outcome
    error = _encode.encode(settlement.error) if settlement.error is not None else b""
    attempt = Attempt(
        number=lease.attempt,
        worker=lease.worker,
        pool=settlement.pool,
        started_at_ms=lease.leased_at_ms,
        # The server's start plus the worker's monotonic duration: workers' wall clocks may drift.
        ended_at_ms=lease.leased_at_ms + round(settlement.usage.run_s * 1000),
        outcome=outcome,
        error=settlement.error,
        usage=settlement.usage,
    )
    data: dict[str, Any] = {"attempt": lease.attempt, "usage": settlement.usage}
    if settlement.error is not None:
        data["error"] = settlement.error
    if outcome is AttemptOutcome.RETRYING:
        data["retry_in_s"] = settlement.retry_in_s
    if outcome is AttemptOutcome.HANDED_BACK:
        data["from"] = "handed_back"
    return (
        lease.task.id,
        lease.worker,
        lease.attempt,
        outcome.value,
        _encode.encode(settlement.result) if settlement.result is not None else b"",
        error,
        _encode.encode(attempt),
        max(0, round(settlement.retry_in_s * 1000)),
        _encode.encode(data),
        settlement.usage.cost_nano_usd,
        settlement.usage.total_tokens,
    )
