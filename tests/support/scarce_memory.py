"""``python -m tests.support.scarce_memory CACHE``: embeds more in one batch than its memory limit lets through, and prints
the sizes of the batches that went well and the least cosine to the same texts one by one, as JSON."""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from pathlib import Path

import psutil

from sophia.inference.micro_batch import BatchingEmbedder
from sophia.inference.onnx_embedder import packaged_embedder

TEXTS = ["word " * 250] * 30 + ["short"]
SPARE_BYTES = 120 * 1024 * 1024


async def main(cache: Path) -> None:
    engine = packaged_embedder(cache, max_tokens=256, threads=1)
    alone = (await engine.embed(TEXTS[-2:])).vectors
    engine.batch_tokens = 65_536
    limit = psutil.Process().memory_info().vms + SPARE_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    sizes: list[int] = []
    embedder = BatchingEmbedder(engine, on_batch=sizes.append)
    running = asyncio.create_task(embedder.run())
    vectors = (await embedder.embed(TEXTS)).vectors
    running.cancel()
    await asyncio.wait([running])
    await engine.close()
    print(json.dumps({"sizes": sizes, "cosine": float((vectors[-2:] * alone).sum(axis=1).min())}))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
