"""``python -m tests.support.model_server chat|embedding PORT CACHE``: a model server as a process of its own."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

from sophia.inference import embedding_server, llama_server
from sophia.inference.onnx_embedder import packaged_embedder
from sophia.settings.inference import LlamaSettings

LLAMA = LlamaSettings(context_tokens=4096, parallel=4, threads=1)


async def main(kind: str, port: int, cache: Path) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    if kind == "chat":
        await llama_server.serve("127.0.0.1", port, LLAMA, stop)
    else:
        await embedding_server.serve("127.0.0.1", port, packaged_embedder(cache, max_tokens=256, threads=1), stop)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])))
