"""Small real programs for tests of whoever starts processes."""

from __future__ import annotations

from pathlib import Path

import psutil

OBEDIENT = ("sh", "-c", "trap 'exit 0' TERM; echo up; while :; do sleep 0.05 & wait $!; done")
"""Runs until it is told to leave."""

STUBBORN = ("sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.05; done")
"""Ignores SIGTERM."""

PARENT = ("sh", "-c", "setsid sleep 1000 & trap 'exit 0' TERM; echo up; while :; do sleep 0.05 & wait $!; done")
"""Leaves a process behind, in a session of its own."""

TETHERED = ("sh", "-c", 'echo up; eval "cat <&$SOPHIA_TETHER_FD"')
"""Runs until the writing end of its tether is closed."""


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def says_up(log: Path) -> bool:
    return log.exists() and log.read_text().startswith("up\n")
