"""The gateway's part of ``docs/benchmarks.md``, and its chart."""

from __future__ import annotations

from html import escape

from bench.gateway import CONCURRENCY, DIRECT, LITELLM, PORTKEY, SOPHIA, STREAMS
from bench.rounds import Results

NAMES = (SOPHIA, PORTKEY, LITELLM, DIRECT)


def section(results: Results) -> str:
    """Empty when nothing was measured."""
    names = [name for name in NAMES if results.median("gateway", name, "per_s")]
    ours = results.median("gateway", SOPHIA, "per_s")
    if not ours:
        return ""
    rows = [_row(results, name, ours) for name in names]
    head = [
        "",
        "ratio",
        "requests/s",
        "added p50 ms",
        "added p99 ms",
        "CPU µs",
        "chunks/s",
        "first chunk later, ms",
        "KB a stream",
    ]
    lines = ["| " + " | ".join(row) + " |" for row in (head, ["---", *["---:"] * (len(head) - 1)], *rows)]
    return (
        "## The gateway\n\n"
        "![Requests per second through gateways](images/benchmark-gateway.svg)\n\n"
        "Chat completions over an upstream that answers at once. One core for the server under test, the other for load,\n"
        "upstream and Redis. Sophia checks a virtual key with a rate limit and a budget, reserves of that and of its tenant's,\n"
        f"and meters every call; the peers do none of that. {CONCURRENCY} requests at a time; what is added to the latency is\n"
        "measured at half of each one's own most; CPU is that of the server's process for one request; a stream has 101\n"
        f"chunks, and {STREAMS:,} of them are held open for the memory of one.\n\n"
        + "\n".join(lines)
        + "\n\n"
        + _facts(results, ours)
    )


def _row(results: Results, name: str, ours: float) -> list[str]:
    def cell(figure: str, form: str) -> str:
        value = results.median("gateway", name, figure)
        return "" if value is None or (name == DIRECT and figure == "cpu_us") else format(value, form)

    rate = results.median("gateway", name, "per_s") or 0.0
    return [
        f"**{name}**" if name == SOPHIA else name,
        format(rate / ours, ".3f"),
        cell("per_s", ",.0f"),
        cell("added_p50_ms", ".2f"),
        cell("added_p99_ms", ".2f"),
        cell("cpu_us", ",.0f"),
        cell("chunks_per_s", ",.0f"),
        cell("first_later_ms", ".2f"),
        cell("kb_per_stream", ".0f"),
    ]


def _facts(results: Results, ours: float) -> str:
    lines = []
    for name in (PORTKEY, LITELLM):
        rate, chunks = (results.median("gateway", name, figure) for figure in ("per_s", "chunks_per_s"))
        own_chunks = results.median("gateway", SOPHIA, "chunks_per_s")
        if rate and chunks and own_chunks:
            lines.append(
                f"- {ours / rate:.1f} times {name} in requests, {own_chunks / chunks:.1f} times in streamed chunks."
            )
    hits = results.median("gateway", SOPHIA, "hits_per_s")
    if hits:
        lines.append(
            f"- Answers from the cache: {hits:,.0f} a second, {hits / ours:.2f} times the rate of calls passed on."
        )
    tasks, cpu_us = (results.median("gateway", SOPHIA, figure) for figure in ("tasks_per_s", "cpu_us_per_task"))
    if tasks and cpu_us:
        lines.append(f"- `POST /v1/tasks`: {tasks:,.0f} a second; {cpu_us:.0f} µs of processor time each.")
    return "\n".join(lines)


def chart(results: Results) -> str:
    """Horizontal bars of requests per second; empty when nothing was measured."""
    rates = [(name, results.median("gateway", name, "per_s") or 0.0) for name in NAMES if name != DIRECT]
    rates = [row for row in rates if row[1]]
    if not rates:
        return ""
    most, left, width, step = max(rate for _, rate in rates), 190, 420, 26
    height = step * len(rates) + 40
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 720 {height}" font-family="system-ui, sans-serif" '
        'font-size="13" role="img" aria-label="Requests per second through gateways">',
        f'<rect width="720" height="{height}" fill="#ffffff"/>',
        '<text x="12" y="20" font-weight="600" fill="#1f2933">Chat completions per second through one core</text>',
    ]
    for row, (name, rate) in enumerate(rates):
        y, length = 34 + row * step, max(2, round(rate / most * width))
        colour = "#2f6fde" if name == SOPHIA else "#9aa5b1"
        lines += [
            f'<text x="{left - 8}" y="{y + 14}" text-anchor="end" fill="#1f2933">{escape(name)}</text>',
            f'<rect x="{left}" y="{y}" width="{length}" height="{step - 6}" rx="3" fill="{colour}"/>',
            f'<text x="{left + length + 6}" y="{y + 14}" fill="#1f2933">{rate:,.0f}</text>',
        ]
    return "\n".join([*lines, "</svg>"]) + "\n"
