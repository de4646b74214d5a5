"""A disk that may be filled."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

DISK_MB = 256


class SmallDisk:
    """A file system of its own, so that filling it hurts nobody else. Mounting one needs root and the right to mount;
    without, ``mounted`` stays false."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.mounted = False
        self._ballast = place / "ballast"
        self.place.mkdir(parents=True, exist_ok=True)
        if os.geteuid() != 0:
            return
        command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(self.place)]
        with contextlib.suppress(FileNotFoundError):
            self.mounted = subprocess.run(command, check=False, capture_output=True).returncode == 0

    def fill(self) -> None:
        with self._ballast.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4_096))

    def free(self) -> None:
        self._ballast.unlink(missing_ok=True)

    def unmount(self) -> None:
        """What is on it stays, as files of the folder that it was mounted over."""
        if not self.mounted:
            return
        kept = self.place.with_name(f"{self.place.name}-kept")
        with contextlib.suppress(shutil.Error):  # of files that went meanwhile; all others are copied
            shutil.copytree(self.place, kept, ignore=shutil.ignore_patterns("*.sock", self._ballast.name))
        subprocess.run(["umount", "-l", str(self.place)], check=False)
        self.mounted = False
        self.place.rmdir()
        kept.rename(self.place)
