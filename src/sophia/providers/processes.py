"""Detached processes that can be found again: identified beyond their pid, signalled safely, reaped."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
import psutil

KILL_WAIT_S = 2.0


class ProcessMark(msgspec.Struct, frozen=True):
    """A process for as long as this machine is up: its pid alone may be given to another one later."""

    pid: int
    birth: str


class Fate(msgspec.Struct, frozen=True):
    """Whether a process runs. ``exit_code`` only where it was our child: as ``waitstatus_to_exitcode`` gives it."""

    alive: bool
    exit_code: int | None = None


def spawn(
    command: Sequence[str], environment: Mapping[str, str], log: Path, tether_fd: int | None = None
) -> ProcessMark:
    """Start a process in a session of its own, output appended to ``log``, inheriting ``tether_fd``.

    Of our other files it gets only those marked inheritable. It is not bound to its parent's life. Raises ``OSError``
    when it cannot be started.
    """
    actions: list[tuple[int, int, str, int, int] | tuple[int, int, int]] = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    if tether_fd is not None:
        # Onto itself: the C library then clears the close-on-exec mark in the child alone.
        actions.append((os.POSIX_SPAWN_DUP2, tether_fd, tether_fd))
    pid = os.posix_spawnp(
        command[0],
        list(command),
        dict(environment),
        file_actions=actions,
        setsid=True,
        setsigmask=(),
        setsigdef=(signal.SIGPIPE, signal.SIGINT, signal.SIGTERM, signal.SIGHUP),
    )
    return ProcessMark(pid, _birth(pid) or "")


def fate(mark: ProcessMark) -> Fate:
    """Whether that very process still runs; an ended child of ours is reaped here."""
    if _birth(mark.pid) != mark.birth:
        return Fate(False)
    try:
        pid, status = os.waitpid(mark.pid, os.WNOHANG)
    except ChildProcessError:
        return Fate(_is_running(mark.pid))
    if pid == 0:
        return Fate(True)
    return Fate(False, os.waitstatus_to_exitcode(status))


def ask_to_stop(mark: ProcessMark) -> bool:
    """SIGTERM to the process itself, which ends its own children; ``False`` when it is gone already."""
    if not fate(mark).alive:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(mark.pid, signal.SIGTERM)
    return True


def kill(mark: ProcessMark) -> Fate:
    """SIGKILL to the process and its group; waits up to ``KILL_WAIT_S`` seconds for the end."""
    if fate(mark).alive:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(mark.pid, signal.SIGKILL)
    until = time.monotonic() + KILL_WAIT_S
    while (now := fate(mark)).alive and time.monotonic() < until:
        time.sleep(0.01)
    return now


def kill_one(mark: ProcessMark) -> None:
    """SIGKILL to a process that leads no group, if it is still that one."""
    if fate(mark).alive:
        with contextlib.suppress(ProcessLookupError):
            os.kill(mark.pid, signal.SIGKILL)


def marked(variable: str, value: str) -> Iterator[ProcessMark]:
    """Running processes of this user whose environment says ``variable=value``: a process and its descendants."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(variable) == value and (birth := _birth(process.pid)):
                yield ProcessMark(process.pid, birth)


def leads_session(mark: ProcessMark) -> bool:
    try:
        return os.getsid(mark.pid) == mark.pid
    except ProcessLookupError:
        return False


def _is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _birth(pid: int) -> str | None:
    """When a process began, in words that no other process of that pid shares; ``None`` when there is none."""
    if not sys.platform.startswith("linux"):
        try:
            return f"{psutil.Process(pid).create_time():.6f}"
        except psutil.NoSuchProcess:
            return None
    # psutil's time of creation is derived from the wall clock, which may be set; ticks since boot may not.
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()}:{fields[19].decode()}"
