"""The process around a command: variables, folder, terminal. Handed on as values from here."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def environ() -> Mapping[str, str]:
    return os.environ


def here() -> Path:
    return Path.cwd()
