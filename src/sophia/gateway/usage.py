"""``/v1/usage``: what calls and tasks used, by whatever is asked for."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta

from starlette.responses import Response

from sophia.access.base import CallRow
from sophia.gateway.access_schemas import CallLine, CallSums, TaskLine, UsageReport
from sophia.gateway.deps import Call
from sophia.gateway.responses import json_answer
from sophia.nouns.errors import Forbidden, InvalidInput, SophiaError
from sophia.nouns.usage import NANO_USD_PER_USD
from sophia.nouns.wording import nearest
from sophia.store.base import UsageRow

log = logging.getLogger(__name__)

LABELS = ("day", "tenant", "key", "model", "provider")
DEFAULT_BY = ("day", "model")
DEFAULT_DAYS = 30
MAX_DAYS = 3_660
SETTLE_S = 1.0
_SUMS = ("requests", "cached", "input_tokens", "output_tokens", "embedding_tokens", "cost_nano_usd", "saved_nano_usd")


async def get_usage(call: Call) -> Response:
    first, last = _days(call)
    by = _by(call)
    tenant = _tenant(call)
    await _bring_up_to_date(call)
    rows = await call.deps.calls.calls(tenant, first.isoformat(), last.isoformat())
    tasks = await call.deps.ledger.usage(tenant, first.isoformat(), last.isoformat())
    report = UsageReport(
        from_day=first.isoformat(),
        to_day=last.isoformat(),
        by=list(by),
        rows=_lines(rows, by),
        total=_total(rows),
        tasks=_task_lines(tasks),
    )
    return json_answer(report)


async def _bring_up_to_date(call: Call) -> None:
    """What this gateway has just ended, and what the gate has counted, goes to the ledger first. While the gate does not
    answer the report is of what the ledger knows."""
    if call.deps.flush is None:
        return
    try:
        await call.deps.gate.settled(SETTLE_S)
        await call.deps.flush.flush()
    except SophiaError as error:
        log.warning("usage is reported as the ledger has it: %s", error.message)


def _days(call: Call) -> tuple[date, date]:
    today = datetime.fromtimestamp(call.deps.clock.now_ms() / 1000, UTC).date()
    last = _day(call, "to") or today
    first = _day(call, "from") or last - timedelta(days=min(DEFAULT_DAYS - 1, last.toordinal() - 1))
    if first > last:
        raise InvalidInput("from is after to", field="from", mend=f"at most {last.isoformat()}")
    if (last - first).days >= MAX_DAYS:
        raise InvalidInput("that are too many days", field="from", mend=f"at most {MAX_DAYS:,} days")
    return first, last


def _day(call: Call, name: str) -> date | None:
    text = call.request.query_params.get(name)
    if text is None:
        return None
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).date()
    except ValueError:
        raise InvalidInput(f"{text[:40]!r} is no day", field=name, mend="a UTC day such as 2026-01-31") from None


def _by(call: Call) -> tuple[str, ...]:
    asked = [
        word.strip() for text in call.request.query_params.getlist("by") for word in text.split(",") if word.strip()
    ]
    for word in asked:
        if word not in LABELS:
            raise InvalidInput(f"usage is not kept by {word[:40]!r}", field="by", mend=nearest(word, LABELS))
    return tuple(label for label in LABELS if label in (asked or DEFAULT_BY))


def _tenant(call: Call) -> str | None:
    asked = call.request.query_params.get("tenant")
    if call.holder.operator:
        return asked
    if asked is not None and asked != call.tenant:
        raise Forbidden("this key is not of that tenant", field="tenant", mend=f"leave it out: {call.tenant!r}")
    return call.tenant


def _lines(rows: Iterable[CallRow], by: Sequence[str]) -> list[CallLine]:
    sums: dict[tuple[str, ...], Counter[str]] = {}
    for row in rows:
        group = sums.setdefault(tuple(getattr(row, label) for label in by), Counter())
        group.update({name: getattr(row, name) for name in _SUMS})
    lines = []
    for labels, group in sorted(sums.items()):
        named: dict[str, str | None] = {**dict.fromkeys(LABELS), **dict(zip(by, labels, strict=True))}
        lines.append(CallLine(**named, **_shown(group)))  # type: ignore[arg-type]
    return lines


def _total(rows: Iterable[CallRow]) -> CallSums:
    total: Counter[str] = Counter()
    for row in rows:
        total.update({name: getattr(row, name) for name in _SUMS})
    return CallSums(**_shown(total))  # type: ignore[arg-type]


def _shown(sums: Counter[str]) -> dict[str, float]:
    return {
        **{name: sums[name] for name in _SUMS[:-2]},
        "cost_usd": sums["cost_nano_usd"] / NANO_USD_PER_USD,
        "saved_usd": sums["saved_nano_usd"] / NANO_USD_PER_USD,
    }


def _task_lines(rows: Iterable[UsageRow]) -> list[TaskLine]:
    sums: dict[str, Counter[str]] = {}
    for row in rows:
        usage = row.usage
        sums.setdefault(row.type, Counter()).update(
            tasks=row.tasks,
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            embedding_tokens=usage.embedding_tokens,
            cost_nano_usd=usage.cost_nano_usd,
        )
    return [
        TaskLine(
            type=name,
            tasks=one["tasks"],
            input_tokens=one["input_tokens"],
            output_tokens=one["output_tokens"],
            embedding_tokens=one["embedding_tokens"],
            cost_usd=one["cost_nano_usd"] / NANO_USD_PER_USD,
        )
        for name, one in sorted(sums.items())
    ]
