"""Structured logging: one line per record, on stderr."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import Any, TextIO

import msgspec

LEVELS = ("debug", "info", "warning", "error")
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


def configure_logging(level: str, *, stream: TextIO | None = None, role: str = "") -> None:
    """Send everything to stderr: text for a person on a terminal, JSON for a collector."""
    stream = stream or sys.stderr
    handler = logging.StreamHandler(stream)
    handler.setFormatter(TextFormatter() if stream.isatty() else JsonFormatter(role))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.captureWarnings(True)


class JsonFormatter(logging.Formatter):
    """``ts``, ``level``, ``logger``, ``message``, then whatever was given as ``extra``; ``exception`` last."""

    def __init__(self, role: str) -> None:
        super().__init__()
        self._fixed = {"role": role} if role else {}

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            **self._fixed,
            "logger": record.name,
            "message": record.getMessage(),
            **_extras(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line, enc_hook=repr).decode("utf-8", "replace")


class TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        parts = [f"{at} {record.levelname.lower():<7} {record.name.removeprefix('sophia.')}: {record.getMessage()}"]
        parts += [f"{key}={value}" for key, value in _extras(record).items()]
        if record.exc_info:
            parts.append(self.formatException(record.exc_info))
        return "\\n".join(" ".join(parts).splitlines())


def _extras(record: logging.LogRecord) -> dict[str, Any]:
    return {key: value for key, value in vars(record).items() if key not in _STANDARD}
