"""From files and environment to ``Loaded``. The only module that knows which variables mean something to Sophia.

Later wins: the packaged ``default.yaml``, for the local profile ``local.yaml``, for the emulated one ``emulated.yaml`` too, the user's ``sophia.yaml``, variables.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec

from sophia.nouns.errors import ConfigError
from sophia.settings.document import Document, dotted, parse_document, read_document
from sophia.settings.loaded import Loaded
from sophia.settings.merge import merge, put_first
from sophia.settings.model import Settings
from sophia.settings.resolve import resolve
from sophia.settings.rules import broken_rules
from sophia.settings.shape import Fault, describe, faults, nearest

CONFIG_NAME = "sophia.yaml"
DEFAULT_DATA_DIR = ".sophia"
DEFAULT_PROFILE = "local"
PROFILES = ("local", "hosted", "emulated")
_OVERLAYS = {"hosted": (), "local": ("local.yaml",), "emulated": ("local.yaml", "emulated.yaml")}


def load(
    config_path: Path | None, data_dir: Path | None, environ: Mapping[str, str], profile: str | None = None
) -> Loaded:
    """Read, merge, check and resolve everything.

    ``config_path`` None: ``SOPHIA_CONFIG``, else ``sophia.yaml`` of the current folder if there is one.
    ``data_dir`` None: ``SOPHIA_DATA_DIR``, else ``.sophia``. ``profile`` None: ``SOPHIA_PROFILE``, else the file's, else
    local. Raises ``ConfigError`` naming file, line, key and mend; every mistake found, not just the first.
    """
    path = find_config(config_path, environ)
    settings = merged_settings(path, environ, profile)
    folder = data_dir or Path(environ.get("SOPHIA_DATA_DIR") or DEFAULT_DATA_DIR)
    return resolve(settings, environ, config_path=path, data_dir=folder.expanduser().absolute())


def find_config(config_path: Path | None, environ: Mapping[str, str]) -> Path | None:
    """The user's file, if there is one. A file that was named must exist; the one of the current folder may not."""
    if config_path is not None:
        return config_path.expanduser().absolute()
    if named := environ.get("SOPHIA_CONFIG"):
        return Path(named).expanduser().absolute()
    here = Path(CONFIG_NAME).absolute()
    return here if here.exists() else None


def merged_settings(config_path: Path | None, environ: Mapping[str, str], profile: str | None = None) -> Settings:
    """The checked settings, references to secrets not yet resolved."""
    user = read_document(config_path) if config_path else Document(origin="(no file)", values={}, lines={})
    chosen = _profile(user, environ, profile)
    values = packaged_values(chosen)
    merged = merge(values, user.values)
    _promote_own_models(merged, user.values, values)
    merged["profile"] = chosen
    _refuse(faults(merged, Settings), user)
    settings = msgspec.convert(merged, Settings)
    _refuse(broken_rules(settings), user)
    return settings


def packaged_values(profile: str) -> dict[str, Any]:
    """What holds without a file of the user's."""
    values = _packaged("default.yaml")
    for name in _OVERLAYS[profile]:
        values = merge(values, _packaged(name))
    return values


@functools.cache
def _packaged(name: str) -> dict[str, Any]:
    raw = resources.files("sophia.settings").joinpath(name).read_bytes()
    return parse_document(raw, f"sophia/settings/{name}").values


def _profile(user: Document, environ: Mapping[str, str], argument: str | None) -> str:
    sources = (
        ("--profile", argument),
        ("SOPHIA_PROFILE", environ.get("SOPHIA_PROFILE") or None),
        (f"{user.origin}: profile", user.values.get("profile")),
    )
    for source, value in sources:
        if value is not None:
            if value not in PROFILES:
                mend = nearest(value, PROFILES) if isinstance(value, str) else "known: emulated, hosted, local"
                raise ConfigError(f"{source} is not a known profile", field="profile", mend=mend)
            return str(value)
    return DEFAULT_PROFILE


def _promote_own_models(merged: dict[str, Any], user: dict[str, Any], packaged: dict[str, Any]) -> None:
    """Models that only the user's file has come first, since a tier takes the first that lists it."""
    own = user.get("models")
    if isinstance(own, dict) and isinstance(merged.get("models"), dict):
        merged["models"] = put_first(merged["models"], [name for name in own if name not in packaged["models"]])


def _refuse(found: Iterable[Fault], user: Document) -> None:
    listed = list(found)
    if not listed:
        return
    text = "\n".join(describe(fault, _where(fault, user)) for fault in listed)
    raise ConfigError(text, field=dotted(listed[0].path))


def _where(fault: Fault, user: Document) -> str:
    """File and line of the nearest enclosing key that the user wrote."""
    for length in range(len(fault.path), 0, -1):
        line = user.lines.get(fault.path[:length])
        if line is not None:
            return f"{user.origin}:{line}"
    return user.origin if user.values else "settings"
