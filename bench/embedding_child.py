"""``python -m bench.embedding_child SUBJECT FOLDER``: one embedder over the same texts, in an environment of its own.

Reads ``texts.json`` (``measured``, ``queries``, ``documents``) in FOLDER, writes ``SUBJECT.npz``, prints its figures.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Embed = Callable[[list[str]], Any]


def main() -> None:
    subject, folder = sys.argv[1], Path(sys.argv[2])
    texts = json.loads((folder / "texts.json").read_text())
    embed, close = OPENED[subject](folder, Path(texts["model"]))
    embed(texts["measured"][:16])  # what is done once is not counted
    cpu_s, wall_s = time.process_time(), time.monotonic()
    vectors = embed(texts["measured"])
    cpu_s, wall_s = time.process_time() - cpu_s, time.monotonic() - wall_s
    np.savez(
        folder / f"{subject}.npz", vectors=vectors, queries=embed(texts["queries"]), documents=embed(texts["documents"])
    )
    close()
    count = len(texts["measured"])
    figures = {
        "per_cpu_s": count / cpu_s,
        "per_s": count / wall_s,
        "resident_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
    }
    print(json.dumps(figures), flush=True)


def _sentence_transformers(folder: Path, model: Path) -> tuple[Embed, Callable[[], None]]:
    from sentence_transformers import SentenceTransformer  # type: ignore[import-not-found]

    loaded = SentenceTransformer(str(model), device="cpu")
    return lambda texts: loaded.encode(texts), lambda: None


def _ours(int8: bool) -> Callable[[Path, Path], tuple[Embed, Callable[[], None]]]:
    def opened(folder: Path, model: Path) -> tuple[Embed, Callable[[], None]]:
        from sophia.inference.micro_batch import BatchingEmbedder
        from sophia.inference.onnx_embedder import onnx_embedder

        runner = asyncio.Runner()
        engine = onnx_embedder(model, folder / "models", model="model", max_tokens=512, threads=2, int8=int8)

        async def embed(texts: list[str]) -> Any:
            embedder = BatchingEmbedder(engine)
            running = asyncio.create_task(embedder.run())
            try:
                return (await embedder.embed(texts)).vectors
            finally:
                running.cancel()
                await asyncio.wait([running])

        def close() -> None:
            runner.run(engine.close())
            runner.close()

        return lambda texts: runner.run(embed(texts)), close

    return opened


OPENED = {"sentence-transformers": _sentence_transformers, "float": _ours(False), "int8": _ours(True)}

if __name__ == "__main__":
    main()
