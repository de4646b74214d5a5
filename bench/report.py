"""``docs/benchmarks.md`` and its chart from the figures. Ratios first."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from bench import report_embedding, report_gateway
from bench.rounds import TWO, Results
from bench.subjects import JETSTREAM, OURS, PEERS, SWITCHED_OFF, WORK_MS


def document(results: Results) -> str:
    parts = [
        _head(results),
        _throughput(results),
        _scaling(results),
        _submission(results),
        _latency(results),
        _rest(results),
    ]
    parts += [
        _promises(results),
        report_gateway.section(results),
        report_embedding.section(results),
        _failures(results),
        METHOD,
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(results: Results) -> str:
    m = results.machine
    return (
        "# Benchmarks\n\n"
        "Made by `make bench`: every queue in the same run, on the same machine, over a fresh server with the same settings\n"
        "(append-only file, synced every second) for each measurement. Rounds alternate between the subjects; the figures are\n"
        f"medians of {results.runs} rounds, and ratios say more than absolutes.\n\n"
        f"{m['date']}; {m['cpu']}; Python {m['python']}; load of the machine before the first round: {m['load']}."
        "\n\n![Tasks per second, end to end](images/benchmark.svg)"
    )


def _names(results: Results, section: str) -> list[str]:
    rows = results.rounds.get(section, {})
    return [peer.name for peer in (JETSTREAM, *PEERS) if peer.name in rows]


def _throughput(results: Results) -> str:
    ours = results.median("throughput", OURS.name, "per_s")
    if ours is None:
        return ""
    rows = [[f"**{OURS.name}**", "**1.0**", _number(ours), _span(results, OURS.name), ""]]
    two = results.median("throughput", TWO, "per_s")
    if two is not None:
        rows.append([TWO, _ratio(two, ours), _number(two), _span(results, TWO), "two worker processes"])
    for peer in (JETSTREAM, *PEERS):
        theirs = results.median("throughput", peer.name, "per_s")
        if theirs is not None:
            note = "; ".join(filter(None, (peer.kind, peer.note)))
            rows.append([peer.name, _ratio(theirs, ours), _number(theirs), _span(results, peer.name), note])
    consume = results.median("floor", "floor", "consume_per_s")
    if consume is not None:
        rows.append(["floor", _ratio(consume, ours), _number(consume), "", "XREADGROUP, SET, XACK, XDEL, pipelined"])
    return (
        "## End to end\n\n"
        "20,000 tasks that do nothing, first submission to last readable result, one worker process (slower queues get as\n"
        "many tasks as they do in about three seconds).\n\n"
        + _table(["", "ratio", "tasks/s", "least–most", ""], rows)
        + "\n\n"
        + _verdict(results, ours, two)
    )


def _verdict(results: Results, ours: float, two: float | None) -> str:
    lines = []
    by_kind = {
        kind: max(
            ((results.median("throughput", p.name, "per_s") or 0.0, p.name) for p in PEERS if p.kind == kind),
            default=(0.0, ""),
        )
        for kind in ("asyncio", "threads", "node")
    }
    for kind, words in (
        ("asyncio", "asyncio queue with results"),
        ("threads", "queue on threads or processes"),
        ("node", "queue on node"),
    ):
        rate, name = by_kind[kind]
        if rate:
            lines.append(f"- {ours / rate:.1f} times the fastest {words} ({name}).")
    if two is not None:
        lines.append(f"- Two workers: {two / ours:.2f} times one.")
    return "\n".join(lines)


def _scaling(results: Results) -> str:
    """What two workers can give on so few cores, and what they give."""
    one, two = (results.median("scaling", name, "per_s") for name in ("one worker", "two workers"))
    ours = results.median("throughput", OURS.name, "per_s")
    if one is None or two is None or ours is None:
        return ""
    worker, server, client = (
        results.median("throughput", OURS.name, f"{who}_us") or 0.0 for who in ("worker", "server", "client")
    )
    cores = int(results.machine["cpu"].split(" ", 1)[0])
    most = cores * 1e6 / (worker + server + client)
    rows = [["one worker", "1.00", _number(one)], ["two workers", _ratio(two, one), _number(two)]]
    return (
        "## Two workers\n\n"
        f"A task that does nothing costs {worker:.0f} µs of processor time in the worker, {server:.0f} in Redis and "
        f"{client:.0f} in the\nprocess that submits it and looks for its result. The {cores} cores that all of them share can "
        f"do no more than {_number(most)} of\nthem a second, however many workers there are, and one worker alone comes to "
        f"{ours / most:.0%} of that: a second one can add\na factor of {most / ours:.2f} at most. Beyond that, workers "
        "need cores of their own. How work itself scales shows when there is\nsome: with a handler that computes for "
        f"{WORK_MS} ms,\n\n" + _table(["", "ratio", "tasks/s"], rows)
    )


def _submission(results: Results) -> str:
    ours = [results.median("submission", OURS.name, figure) for figure in ("single_per_s", "bulk_per_s")]
    if None in ours:
        return ""
    single, bulk = (value or 0.0 for value in ours)
    rows = [[f"**{OURS.name}**", "**1.0**", "**1.0**", _number(single), _number(bulk)]]
    for name in _names(results, "submission"):
        a, b = (results.median("submission", name, figure) or 0.0 for figure in ("single_per_s", "bulk_per_s"))
        rows.append([name, _ratio(a, single), _ratio(b, bulk), _number(a), _number(b)])
    a, b = (results.median("floor", "floor", f"submit_{how}_per_s") or 0.0 for how in ("single", "bulk"))
    xadd = results.median("floor", "floor", "xadd_per_s") or 0.0
    if a and b:
        rows.append(["floor: raw script (HSET, XADD)", _ratio(a, single), _ratio(b, bulk), _number(a), _number(b)])
        rows.append(["floor: XADD, pipelined", "", _ratio(xadd, bulk), "", _number(xadd)])
    return (
        "## Submission alone\n\nNo worker runs. One after the other, and in bulk where the queue can.\n\n"
        + _table(["", "single", "bulk", "single/s", "bulk/s"], rows)
        + (f"\n\nOf the raw script: {single / a:.0%} single, {bulk / b:.0%} in bulk." if a and b else "")
    )


def _latency(results: Results) -> str:
    ours = results.median("latency", OURS.name, "p50_ms")
    if ours is None:
        return ""
    rows = []
    for name in (OURS.name, *_names(results, "latency")):
        p50, p99 = (results.median("latency", name, figure) or 0.0 for figure in ("p50_ms", "p99_ms"))
        rows.append([name, _ratio(p50, ours), f"{p50:.1f}", f"{p99:.1f}", f"{p99 / p50:.1f}"])
    return (
        "## Latency of an idle worker\n\nFrom the call of submit until the result can be read, one task at a time.\n\n"
        + _table(["", "p50 ratio", "p50 ms", "p99 ms", "p99 / p50"], rows)
    )


def _rest(results: Results) -> str:
    rows = []
    for name in (OURS.name, *_names(results, "rest")):
        memory, commands = (results.median("rest", name, figure) for figure in ("resident_mb", "commands_per_s"))
        queued = results.median("rest", name, "bytes_per_task")
        if memory is not None and commands is not None:
            rows.append([name, f"{memory:.0f}", f"{queued / 1024:.2f}" if queued else "", f"{commands:.2f}"])
    if not rows:
        return ""
    return (
        "## At rest\n\nA worker's memory and its Redis commands per second when there is nothing to do (those inside scripts\n"
        "counted too), and Redis memory per queued task with a payload of 1 KB, payload included.\n\n"
        + _table(["", "worker RSS, MB", "KB per queued task", "commands/s"], rows)
    )


def _promises(results: Results) -> str:
    kept = results.median("promises", "all promises kept", "per_s")
    if kept is None:
        return ""
    rows = [["all promises kept", "1.00", _number(kept)]]
    for subject in SWITCHED_OFF:
        rate = results.median("promises", subject.name, "per_s")
        if rate is not None:
            rows.append([subject.name, _ratio(rate, kept), _number(rate)])
    return "## What each promise costs\n\n" + _table(["", "ratio", "tasks/s"], rows)


def _failures(results: Results) -> str:
    rows = [[name, section, words] for section, found in results.failures.items() for name, words in found.items()]
    return "## Not measured\n\n" + _table(["", "section", "why"], rows) if rows else ""


METHOD = """## How it is measured

- One process submits and looks at results, one process (or two) works, one server stores; all on the same cores.
- Results are looked for in the same cheap way for every queue (does the key exist), 500 at a time, so that a client's
  way of waiting does not decide. On JetStream whole records are read. FastStream has no results: its worker is asked how
  many messages it has handled.
- JetStream stores on disk and syncs once a second, as Redis does.
- saq's sweep for stuck jobs is off: it aborts jobs that were fetched a moment ago, so that their results never come.
- Asyncio queues run on uvloop with 100 tasks at once; bulk calls have 500 tasks; where a queue has no bulk call, 100
  single calls run at once. Every queue runs in a process and an environment of its own (`bench/requirements`), and
  one small module (`bench/peers`) says how it is used.
- Sophia's figures are those of the real queue and the real worker with one handler that returns at once, every promise
  kept. The router, which copies finished tasks to the ledger, is not part of a measurement, as no peer has one."""


def chart(results: Results) -> str:
    """Horizontal bars of the end-to-end rates."""
    names = [OURS.name, TWO, *_names(results, "throughput")]
    rates = [(name, results.median("throughput", name, "per_s") or 0.0) for name in names]
    rates = sorted((row for row in rates if row[1]), key=lambda row: -row[1])
    if not rates:
        return ""
    most, left, width, step = rates[0][1], 150, 460, 26
    height = step * len(rates) + 40
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 720 {height}" font-family="system-ui, sans-serif" '
        'font-size="13" role="img" aria-label="Tasks per second, end to end">',
        f'<rect width="720" height="{height}" fill="#ffffff"/>',
        '<text x="12" y="20" font-weight="600" fill="#1f2933">Tasks per second, first submission to last result</text>',
    ]
    for row, (name, rate) in enumerate(rates):
        y = 34 + row * step
        colour = "#2f6fde" if name.startswith(OURS.name) else "#9aa5b1"
        length = max(2, round(rate / most * width))
        lines += [
            f'<text x="{left - 8}" y="{y + 14}" text-anchor="end" fill="#1f2933">{escape(name)}</text>',
            f'<rect x="{left}" y="{y}" width="{length}" height="{step - 6}" rx="3" fill="{colour}"/>',
            f'<text x="{left + length + 6}" y="{y + 14}" fill="#1f2933">{rate:,.0f}</text>',
        ]
    return "\n".join([*lines, "</svg>"]) + "\n"


def _table(head: list[str], rows: Iterable[list[str]]) -> str:
    align = ["---", *("---:" for _ in head[1:])]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, align, *rows))


def _number(value: float) -> str:
    return f"{value:,.0f}"


def _ratio(value: float, base: float) -> str:
    return f"{value / base:.2f}"


def _span(results: Results, name: str) -> str:
    span = results.span("throughput", name, "per_s")
    return f"{span[0]:,.0f}–{span[1]:,.0f}" if span else ""
