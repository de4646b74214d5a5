"""All measurements in rounds: every subject once, then all of them again, so that a disturbance hits everybody alike."""

from __future__ import annotations

import asyncio
import datetime
import json
import os
import platform
import statistics
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from bench import embedding, gateway, measures
from bench.environment import Missing
from bench.processes import Failed
from bench.subjects import JETSTREAM, OURS, PEERS, SWITCHED_OFF, WORKING, Subject

Figures = dict[str, Any]
TWO = "Sophia, two workers"


class Results:
    """Figures by section and subject, one per round, and what went wrong."""

    def __init__(self) -> None:
        self.rounds: dict[str, dict[str, list[Figures]]] = defaultdict(lambda: defaultdict(list))
        self.failures: dict[str, dict[str, str]] = defaultdict(dict)
        self.machine: dict[str, str] = {}
        self.runs = 0
        self.complete = False

    def median(self, section: str, subject: str, figure: str) -> float | None:
        values = [row[figure] for row in self.rounds.get(section, {}).get(subject, ()) if figure in row]
        return statistics.median(values) if values else None

    def span(self, section: str, subject: str, figure: str) -> tuple[float, float] | None:
        values = [row[figure] for row in self.rounds.get(section, {}).get(subject, ()) if figure in row]
        return (min(values), max(values)) if values else None

    def to_json(self) -> Figures:
        return {**vars(self)}

    @classmethod
    def read(cls, path: Path) -> Results:
        results = cls()
        for name, value in json.loads(path.read_text()).items():
            setattr(results, name, value)
        return results


async def run(sections: Sequence[str], peers: str, runs: int, *, quick: bool) -> Results:
    results = Results()
    results.runs = runs
    results.complete = peers == "all" and len(sections) == 7
    results.machine = _machine()
    wanted = _chosen(peers)
    n = 3_000 if quick else 20_000
    for number in range(runs):
        print(f"round {number + 1} of {runs}, load {os.getloadavg()[0]:.1f}", flush=True)
        await _round(results, sections, wanted, n, quick=quick)
    if "rest" in sections:
        await _rest(results, wanted, quick=quick)
    return results


async def _round(results: Results, sections: Sequence[str], wanted: list[Subject], n: int, *, quick: bool) -> None:
    async def note(section: str, subject: Subject | str, call: Callable[[], Awaitable[Figures]]) -> None:
        name = subject if isinstance(subject, str) else subject.name
        try:
            figures = await call()
        except (Missing, Failed) as error:
            results.failures[section][name] = str(error)
            print(f"  {section:<11} {name:<34} failed: {error}", flush=True)
            return
        results.rounds[section][name].append(figures)
        shown = ", ".join(f"{key} {value:,.1f}" for key, value in figures.items() if isinstance(value, int | float))
        print(f"  {section:<11} {name:<34} {shown}", flush=True)

    if "throughput" in sections:
        for subject in (OURS, JETSTREAM, *wanted):
            await note("throughput", subject, lambda s=subject: measures.throughput(s, n))
        await note("throughput", TWO, lambda: measures.throughput(OURS, n, 2))
        for name, count in (("one worker", 1), ("two workers", 2)):
            await note("scaling", name, lambda c=count: measures.throughput(WORKING, n // 20, c))
    if "throughput" in sections or "submission" in sections:
        await note("floor", "floor", lambda: measures.floor(n, 500 if quick else 2_000))
    if "submission" in sections:
        few, many = (200, 1_000) if quick else (1_000, 2_000)
        for subject in (OURS, *wanted):
            size = n if subject is OURS else many
            await note("submission", subject, lambda s=subject, k=size: measures.submission(s, few, k))
    if "latency" in sections:
        for subject in (OURS, JETSTREAM, *wanted):
            await note("latency", subject, lambda s=subject: measures.latency(s, 60 if quick else 200))
    if "promises" in sections:
        few = n // 3
        await note("promises", "all promises kept", lambda: measures.throughput(OURS, few))
        for subject in SWITCHED_OFF:
            await note("promises", subject, lambda s=subject: measures.throughput(s, few))
    if "embedding" in sections:
        for name, call in embedding.cases(quick=quick).items():
            await note("embedding", name, call)
    if "gateway" in sections:
        for name, call in gateway.cases(quick=quick).items():
            await note("gateway", name, call)


async def _rest(results: Results, wanted: list[Subject], *, quick: bool) -> None:
    """All at once: nobody does anything. Memory needs no repetition."""
    watch_s = 10 if quick else 60

    async def one(subject: Subject) -> None:
        try:
            figures = await measures.at_rest(subject, watch_s)
            if subject.kind != "messages":
                figures |= await measures.queued_bytes(subject, 1_000 if quick else 5_000)
            results.rounds["rest"][subject.name].append(figures)
            print(f"  rest        {subject.name:<34} {figures}", flush=True)
        except (Missing, Failed) as error:
            results.failures["rest"][subject.name] = str(error)

    await asyncio.gather(*(one(subject) for subject in (OURS, *wanted)))


def _chosen(peers: str) -> list[Subject]:
    if peers == "all":
        return list(PEERS)
    names = {name.lower() for name in peers.split(",")}
    return [peer for peer in PEERS if peer.name.lower() in names]


def _machine() -> dict[str, str]:
    model = next(
        (line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor(),
    )
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "cpu": f"{os.cpu_count()} cores, {model}",
        "python": platform.python_version(),
        "load": f"{os.getloadavg()[1]:.1f}",
    }


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
