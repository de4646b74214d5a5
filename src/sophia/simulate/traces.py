"""Traces, and the one model of how long a task takes. See ``docs/simulator.md``."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from sophia.nouns.errors import InvalidInput
from sophia.simulate.world import Trace

BATCH = "b"
"""The type of work that nobody waits for."""


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds that a task occupies a slot: ``base_s + in / prefill + out / decode``.

    The defaults are a model of 70 billion parameters at 8 bits on one H100 PCIe: its 70 GB are read in 35 ms at 2 TB/s,
    28 tokens a second and request at most, and a prompt costs 140 GFLOP a token, of which a good half of the card's 8-bit
    peak that batches leave does 3,000 a second.
    """

    base_s: float = 0.1
    prefill_tokens_per_s: float = 3000.0
    decode_tokens_per_s: float = 25.0
    usd_per_1k_tokens: float = 0.001
    """At a hosted model."""


def read(path: Path, service: Service, *, days: float | None = None, kind: str | None = None) -> Trace:
    """A CSV, gzip or plain, with columns ``t`` (seconds), ``in``, ``out`` (tokens) and perhaps ``type``. ``days`` keeps
    its beginning, ``kind`` one type. Raises ``InvalidInput`` for what is no trace."""
    try:
        at_s, prompt, answer = _columns(path, kind)
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInput(f"cannot read {path}: {error}", field="TRACE") from error
    at_s = at_s - (at_s[0] if len(at_s) else 0.0)
    order = np.argsort(at_s, kind="stable")
    if days is not None:
        order = order[at_s[order] < days * 86_400]
    if not len(order):
        raise InvalidInput(f"{path} holds no tasks", field="TRACE")
    at_s, prompt, answer = at_s[order], prompt[order], answer[order]
    run_s = service.base_s + prompt / service.prefill_tokens_per_s + answer / service.decode_tokens_per_s
    return Trace(
        name=path.name.removesuffix(".gz").removesuffix(".csv"),
        at_s=at_s,
        run_s=run_s,
        hosted_usd=(prompt + answer) / 1000 * service.usd_per_1k_tokens,
        span_s=float(at_s[-1]),
    )


def _columns(path: Path, kind: str | None) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    with gzip.open(path, "rt", newline="") if path.suffix == ".gz" else path.open(newline="") as lines:
        rows = csv.reader(lines)
        head = next(rows, [])
        places = {name: index for index, name in enumerate(head)}
        missing = [name for name in ("t", "in", "out") if name not in places]
        if missing:
            raise InvalidInput(f"{path} has no column {', '.join(missing)}", field="TRACE", mend="t,in,out[,type]")
        t, tokens_in, tokens_out = places["t"], places["in"], places["out"]
        types = places.get("type")
        found = [
            (row[t], row[tokens_in], row[tokens_out])
            for row in rows
            if row and (kind is None or types is None or row[types] == kind)
        ]
    try:
        values = np.array(found, dtype=np.float64).reshape(-1, 3)
    except ValueError as error:
        raise InvalidInput(f"{path} holds something that is no number: {error}", field="TRACE") from error
    if not np.isfinite(values).all() or (values < 0).any():
        raise InvalidInput(f"{path} holds negative or unlimited numbers", field="TRACE")
    return values[:, 0], values[:, 1], values[:, 2]
