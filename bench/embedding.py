"""Embedding on CPU beside sentence-transformers, same model, same texts: throughput, and what int8 changes."""

from __future__ import annotations

import asyncio
import functools
import json
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from bench.corpus import mixed_texts, paragraphs, retrieval_set
from bench.environment import ROOT, python_of
from bench.processes import Failed

REFERENCE = "sentence-transformers"
SUBJECTS = {REFERENCE: REFERENCE, "Sophia, float": "float", "Sophia, int8": "int8"}
TEXTS, QUERIES, DOCUMENTS = 2_000, 200, 1_500
TOP = 10
LIMIT_S = 900


def cases(*, quick: bool) -> dict[str, Callable[[], Awaitable[dict[str, Any]]]]:
    """The reference comes first: the others are compared with its vectors."""
    folder = tempfile.TemporaryDirectory(prefix="sophia-bench-")
    return {name: functools.partial(_case, child, folder, quick) for name, child in SUBJECTS.items()}


async def _case(child: str, place: tempfile.TemporaryDirectory[str], quick: bool) -> dict[str, Any]:
    folder = Path(place.name)
    if not (folder / "texts.json").exists():
        await asyncio.to_thread(_write_texts, folder, quick)
    python = await asyncio.to_thread(python_of, "embedding" if child == REFERENCE else "own")
    figures = await _figures([str(python), "-m", "bench.embedding_child", child, str(folder)])
    if child != REFERENCE and (folder / f"{REFERENCE}.npz").exists():
        figures |= await asyncio.to_thread(_compared, folder, child)
    return figures


def _write_texts(folder: Path, quick: bool) -> None:
    from sophia.inference.packaged import embedding_model_folder

    share = 10 if quick else 1
    found = paragraphs()
    queries, documents = retrieval_set(found, QUERIES // share, DOCUMENTS // share)
    texts = {
        "model": str(embedding_model_folder()),
        "measured": mixed_texts(found, TEXTS // share),
        "queries": queries,
        "documents": documents,
    }
    (folder / "texts.json").write_text(json.dumps(texts))


async def _figures(command: list[str]) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(LIMIT_S):
            out, err = await process.communicate()
    except TimeoutError:
        raise Failed(f"no end within {LIMIT_S} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise Failed(err.decode(errors="replace").strip().splitlines()[-1][:200])
    return dict(json.loads(out.decode().strip().splitlines()[-1]))


def _compared(folder: Path, child: str) -> dict[str, float]:
    """Cosines of the measured texts' vectors, and how many of the ten nearest documents of a query are the same."""
    import numpy as np

    with np.load(folder / f"{REFERENCE}.npz") as reference, np.load(folder / f"{child}.npz") as found:
        cosines = (reference["vectors"] * found["vectors"]).sum(axis=1)
        nearest = [np.argsort(-(each["queries"] @ each["documents"].T), axis=1)[:, :TOP] for each in (reference, found)]
    same = [len(set(one) & set(other)) / TOP for one, other in zip(*(each.tolist() for each in nearest), strict=True)]
    return {"least_cosine": float(cosines.min()), "overlap": sum(same) / len(same)}
