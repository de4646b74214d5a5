"""Signals and logs of long-lived commands."""

from __future__ import annotations

import io
import json
import logging
import signal
import subprocess
import sys

import pytest

from sophia.cli.logs import JsonFormatter, TextFormatter, configure_logging

PROGRAM = """
import asyncio, sys
from sophia.cli.serving import serve

async def work(stop):
    print("ready", flush=True)
    try:
        await stop.wait()
        print("draining", flush=True)
        if "{how}" == "drains":
            return
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        print("cancelled", flush=True)
        if "{how}" == "hangs":
            await asyncio.Event().wait()
        raise

sys.exit(serve(work))
"""


def start(how: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.replace("{how}", how)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def next_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, errors = process.communicate(timeout=30)
    return process.returncode, errors


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_drains(number):
    process = start("drains")
    process.send_signal(number)
    assert next_line(process) == "draining"
    assert end(process) == (0, "")


def test_the_second_signal_cancels():
    process = start("stays")
    process.send_signal(signal.SIGTERM)
    assert next_line(process) == "draining"
    process.send_signal(signal.SIGINT)
    assert next_line(process) == "cancelled"
    status, errors = end(process)
    assert status == 130
    assert "Traceback" not in errors


def test_the_third_signal_ends_what_hangs():
    process = start("hangs")
    for line in ("draining", "cancelled"):
        process.send_signal(signal.SIGTERM)
        assert next_line(process) == line
    process.send_signal(signal.SIGTERM)
    assert end(process)[0] == 130


def record(message: str, *, error: BaseException | None = None, **extra: object) -> logging.LogRecord:
    info = (type(error), error, error.__traceback__) if error else None
    made = logging.LogRecord("sophia.worker.runtime", logging.WARNING, __file__, 1, message, (), info)
    vars(made).update(extra)
    return made


def test_json_records_are_one_line_with_their_fields():
    line = JsonFormatter("worker").format(record("a\nb", error=ValueError("x\ny"), task_id="t1", odd=object()))
    assert "\n" not in line
    body = json.loads(line)
    assert (body["level"], body["role"], body["logger"], body["message"], body["task_id"]) == (
        "warning",
        "worker",
        "sophia.worker.runtime",
        "a\nb",
        "t1",
    )
    assert "ValueError" in body["exception"]


def test_text_records_are_one_line_too():
    line = TextFormatter().format(record("a\nb", error=ValueError("x"), task_id="t1"))
    assert "\n" not in line
    assert "warning worker.runtime: a\\nb task_id=t1" in line


def test_logs_go_to_the_stream_as_json_when_nobody_looks():
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    stream = io.StringIO()
    try:
        configure_logging("warning", stream=stream, role="router")
        logging.getLogger("sophia.x").info("not this")
        logging.getLogger("sophia.x").warning("but %s", "this", extra={"pool": "p"})
    finally:
        root.handlers[:] = before
        root.setLevel(level)
        logging.captureWarnings(False)
    body = json.loads(stream.getvalue())
    assert (body["message"], body["pool"], body["role"]) == ("but this", "p", "router")
