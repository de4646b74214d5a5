"""Values of the API in words: times, durations, costs, states."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

STATE_STYLES = {
    "scheduled": "blue",
    "queued": "cyan",
    "running": "yellow",
    "retrying": "magenta",
    "succeeded": "green",
    "failed": "red",
    "dead": "bold red",
    "cancelled": "dim",
    "requested": "cyan",
    "booting": "cyan",
    "ready": "green",
    "working": "yellow",
    "draining": "magenta",
    "terminated": "dim",
}


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def ago(text: str | None, now: datetime | None = None) -> str:
    """``12 s ago``; times ahead as ``in 12 s``."""
    if text is None:
        return ""
    passed = ((now or datetime.now(UTC)) - moment(text)).total_seconds()
    return f"{duration(passed)} ago" if passed >= 0 else f"in {duration(-passed)}"


def duration(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 172_800 else f"{seconds / 86_400:.0f} d"


def money(usd: float) -> str:
    """Cents where cents say enough, six places where the amount is small."""
    return f"${usd:.2f}" if usd >= 1 or usd == 0 else f"${usd:.6f}"


def amount(value: float | None, unit: str) -> str:
    """``unit``: ``usd`` or ``tokens``. An unknown amount is not zero."""
    if value is None:
        return "?"
    return money(value) if unit == "usd" else f"{value:,.0f}"


def count(number: int | None) -> str:
    """An unknown number is not zero."""
    return "?" if number is None else f"{number:,}"


def usage(used: dict[str, Any]) -> str:
    """What an attempt or a task cost. Fields that are zero may be absent."""
    parts = [f"cost {money(_cost(used))}"]
    if used.get("input_tokens") or used.get("output_tokens"):
        parts.append(f"{used.get('input_tokens', 0):,} tokens in, {used.get('output_tokens', 0):,} out")
    if used.get("embedding_tokens"):
        parts.append(f"{used['embedding_tokens']:,} tokens embedded")
    parts.append(f"ran {duration(used.get('run_s', 0.0))}")
    return " · ".join(parts)


def _cost(used: dict[str, Any]) -> float:
    if "cost_usd" in used:
        return float(used["cost_usd"])
    return float(used.get("cost_nano_usd", 0)) / 1_000_000_000


def route(view: dict[str, Any]) -> str:
    stream = str(view.get("stream", "?"))
    name = stream if stream.startswith("stream:") else f"stream:{stream}"
    return f"{name} on {view.get('target', '?')}: {view.get('reason', '')}"


def error(view: dict[str, Any]) -> str:
    return f"{view.get('message', 'no reason was given')} ({view.get('code', 'error')})"
