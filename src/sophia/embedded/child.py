"""Child processes that do not outlive their parent."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

PR_SET_PDEATHSIG = 1


def dies_with_parent(sig: signal.Signals = signal.SIGTERM) -> Callable[[], None] | None:
    """A ``preexec_fn`` that asks the kernel for ``sig`` when the parent is gone; ``None`` where there is no such call.

    Elsewhere (macOS) servers that were left behind are found by their pid file at the next start.
    """
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def ask() -> None:
        prctl(PR_SET_PDEATHSIG, sig, 0, 0, 0)

    return ask


async def start_child(
    command: Sequence[str],
    *,
    log: IO[bytes] | int,
    environment: Mapping[str, str],
    cwd: Path | None = None,
    pass_fds: Sequence[int] = (),
    death_signal: signal.Signals = signal.SIGTERM,
) -> asyncio.subprocess.Process:
    """Start a process in a session of its own, so that Ctrl-C reaches the parent only, which then stops it in order."""
    return await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        env=dict(environment),
        cwd=cwd,
        pass_fds=tuple(pass_fds),
        start_new_session=True,
        preexec_fn=dies_with_parent(death_signal),
    )


async def stop_child(process: asyncio.subprocess.Process, grace_s: float) -> int:
    """SIGTERM, then SIGKILL after ``grace_s``. Gives the exit status."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), grace_s)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
    return await process.wait()


def end_orphan(pid_file: Path) -> None:
    """Ask a server that outlived its platform to end. Needed where the kernel cannot do it (see ``dies_with_parent``)."""
    import psutil

    try:
        process = psutil.Process(int(pid_file.read_text()))
        if str(pid_file.parent.resolve()) in " ".join(process.cmdline()):
            process.terminate()
    except (OSError, ValueError, psutil.Error):
        return


def tail_of(path: Path, lines: int = 5) -> str:
    """The end of a log file, for error messages."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 4_096))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])
    except FileNotFoundError:
        return ""
