"""A worker process of the soak: the product's worker with the soak's handler, and a wall clock that steps."""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
import time
from pathlib import Path

from soak.handlers import Abacus, handler
from soak.journal import Journal
from soak.plan import STREAMS
from sophia.app import build
from sophia.cli.logs import configure_logging
from sophia.cli.serving import serve
from sophia.nouns.clock import SystemClock
from sophia.settings.load import load
from sophia.worker.runtime import Worker

SLOTS = 16
DRAIN_S = 6.0


class SteppingClock(SystemClock):
    """A wall clock that is set forwards and backwards by hours, every few seconds."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def now_ms(self) -> int:
        step = random.Random(self._seed * 1_000_003 + int(time.monotonic() // 2))
        return super().now_ms() + step.choice((0, -3_600_000, 3_600_000, -86_400_000, 40 * 86_400_000))


def main() -> int:
    parser = argparse.ArgumentParser()
    for name in ("--config", "--data-dir", "--journal", "--mended", "--released"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--id", required=True)
    parser.add_argument("--clock-seed", type=int, required=True)
    options = parser.parse_args()
    configure_logging("info", role="worker")
    loaded = load(options.config, options.data_dir, os.environ, "local")

    async def work(stop: asyncio.Event) -> None:
        async with build.backbone(loaded) as backbone, build.objects(loaded) as objects:
            worker = Worker(
                options.id,
                "cpu-workers",
                STREAMS,
                SLOTS,
                queue=backbone.work,
                models=Abacus(),
                settings=loaded.settings,
                handlers={"light": handler(Journal(options.journal), options.mended, options.released)},
                clock=SteppingClock(options.clock_seed),
                drain_s=DRAIN_S,
                packing=build.packing(loaded, objects),
            )
            serving = asyncio.create_task(worker.run())
            stopping = asyncio.create_task(stop.wait())
            await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            worker.stop()
            await serving

    return serve(work)


if __name__ == "__main__":
    sys.exit(main())
