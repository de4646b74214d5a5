"""The API fuzzed from its own OpenAPI document by schemathesis, in a process of its own."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import NamedTuple

REQUEST_TIMEOUT_S = 20
"""An answer that takes longer counts as a hang: no operation waits that long unless it is asked to."""


class Fuzzed(NamedTuple):
    status: int
    report: str


async def fuzz(
    url: str, api_key: str, folder: Path, *, cases: int, seed: int, phases: str, timeout_s: float, workers: int = 1
) -> Fuzzed:
    """``cases`` of each operation at most. Status 0: every check of every case passed."""
    config = folder / "schemathesis.toml"
    config.write_text(CONFIG)
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "run", f"{url}/openapi.json"),
        *("--header", f"Authorization: Bearer {api_key}", "--checks", "all", "--phases", phases),
        *("--max-examples", str(cases), "--seed", str(seed), "--request-timeout", str(REQUEST_TIMEOUT_S)),
        *("--workers", str(workers), "--continue-on-failure", "--warnings", "off", "--no-color"),
    ]
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "COLUMNS": "120"},
    )
    try:
        async with asyncio.timeout(timeout_s):
            output, _ = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    assert process.returncode is not None
    return Fuzzed(process.returncode, output.decode(errors="replace"))


CONFIG = """
# What these take is narrower than a schema can say (cursors, known types and models, one field or another, spans of days);
# every other operation must accept whatever its schema allows.
[[operations]]
include-operation-id = [
  "listTasks", "taskEvents", "submitTask", "submitBatch", "redriveDeadLetters", "getUsage", "createKey", "createEmbedding",
  "createChatCompletion", "uploadFile",
]
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "401", "403", "404", "409", "413", "422"]

[[operations]]
include-path = "/v1/budgets"
checks.positive_data_acceptance.expected-statuses = ["2xx", "403", "422"]

# A parameter without a value is one that was not given.
[[operations]]
include-operation-id = ["listTasks", "getUsage"]
checks.negative_data_rejection.expected-statuses = ["2xx", "400", "401", "403", "404", "422"]
"""
