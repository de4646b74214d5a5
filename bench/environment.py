"""Environments of the peers: made by the bench itself beside the product's, pinned and hashed, never part of it."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "bench" / "requirements"
PLACE = ROOT / ".venv-bench"
NODE = ROOT / "bench" / "node"


class Missing(Exception):
    """What is needed cannot be installed here; says why."""


def python_of(name: str) -> Path:
    """The interpreter of an environment, installed when it is not there or its lock file changed. Raises ``Missing``."""
    if name == "own":
        return Path(sys.executable)
    lock = REQUIREMENTS / f"{name}.lock"
    folder = PLACE / name
    python = folder / "bin" / "python"
    if _stamp(folder, lock):
        return python
    print(f"installing the peers' environment {name!r} (first time: a minute)", flush=True)
    _run([sys.executable, "-m", "venv", "--clear", str(folder)])
    pip = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps", "--require-hashes"]
    _run([*pip, "-r", str(lock)])
    _write_stamp(folder, lock)
    return python


def node_script(name: str) -> list[str]:
    """The command of a node peer, its packages installed. Raises ``Missing``."""
    _install_node()
    return ["node", str(NODE / name)]


def node_package(path: str) -> Path:
    """A file of an npm package. Raises ``Missing``."""
    _install_node()
    return NODE / "node_modules" / path


def _install_node() -> None:
    lock, modules = NODE / "package-lock.json", NODE / "node_modules"
    if not _stamp(modules, lock):
        _run(
            [
                "npm",
                "install",
                "--no-save",
                "--omit=optional",
                "--ignore-scripts",
                "--silent",
                "--no-audit",
                "--no-fund",
            ],
            cwd=NODE,
        )
        _write_stamp(modules, lock)


def tool(environment: str, name: str) -> Path:
    return python_of(environment).parent / name


def _digest(lock: Path) -> str:
    return hashlib.sha256(lock.read_bytes()).hexdigest()


def _stamp(folder: Path, lock: Path) -> bool:
    stamp = folder / ".installed"
    return stamp.exists() and stamp.read_text() == _digest(lock)


def _write_stamp(folder: Path, lock: Path) -> None:
    (folder / ".installed").write_text(_digest(lock))


def _run(command: list[str], cwd: Path | None = None) -> None:
    try:
        done = subprocess.run(
            command, cwd=cwd, capture_output=True, text=True, timeout=900, check=False, env=os.environ
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Missing(f"{command[0]}: {error}") from error
    if done.returncode != 0:
        words = (done.stderr or done.stdout).strip().splitlines()
        raise Missing(f"{' '.join(command[:4])} … failed: {words[-1] if words else done.returncode}")
