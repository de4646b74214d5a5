"""``python -m tests.support.model_server chat PORT``: an embedded model server as a process of its own."""

from __future__ import annotations

import signal
import sys
import threading

from sophia.inference import llama_server
from sophia.settings.model import LlamaSettings

LLAMA = LlamaSettings(context_tokens=4096, parallel=4, threads=1)


def main(kind: str, port: int) -> None:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    llama_server.serve("127.0.0.1", port, LLAMA, stop=stop)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
