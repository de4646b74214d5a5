"""The API of a whole platform, fuzzed from its own document: thousands of cases, every check, no phase left out."""

from __future__ import annotations

import asyncio
from pathlib import Path

from soak.platform_run import Say
from tests.support.fuzzing import fuzz
from tests.support.platform import Platform, three_free_ports

PHASES = "examples,coverage,fuzzing,stateful"
TIMEOUT_S = 3_600.0


async def run(seed: int, cases: int, folder: Path, say: Say) -> list[str]:
    """What is wrong afterwards. ``cases`` of each operation in each phase."""
    platform = Platform(folder / "data", three_free_ports())
    try:
        await asyncio.to_thread(platform.start)
        done = await fuzz(
            platform.url,
            platform.api_key,
            folder,
            cases=cases,
            seed=seed,
            phases=PHASES,
            timeout_s=TIMEOUT_S,
            workers=2,
        )
        (folder / "report.txt").write_text(done.report)
        for line in done.report.splitlines():
            if "generated" in line:
                say(line.strip())
        found = [] if done.status == 0 else [f"checks failed: see {folder / 'report.txt'}"]
        if "Traceback" in platform.log_text():
            found.append(f"a traceback in the logs of {folder}")
        status = await asyncio.to_thread(platform.stop)
        if status != 0:
            found.append(f"the platform stopped with status {status}")
        return found
    finally:
        await asyncio.to_thread(platform.kill_everything)
