"""Where the platform is, and with which key."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from sophia.client.errors import NoPlatform
from sophia.nouns.errors import ConfigError

CLIENT_FILE = "client.json"
DATA_DIR = ".sophia"


class ClientFile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What ``sophia up`` leaves in its data folder, readable by its owner only."""

    url: str
    websocket_url: str = ""
    api_key: str = ""


class Address(msgspec.Struct, frozen=True, kw_only=True):
    url: str
    """Without a slash at the end."""
    api_key: str | None
    source: str
    """Where the URL came from, for messages."""

    def __repr__(self) -> str:
        return f"Address(url={self.url!r}, source={self.source!r})"


def find_address(
    url: str | None, api_key: str | None, environ: Mapping[str, str], folder: Path, data_dir: Path | None = None
) -> Address:
    """Options first, then ``SOPHIA_URL`` and ``SOPHIA_API_KEY``, then ``client.json`` of the data folder, which is
    looked for as ``.sophia`` in ``folder`` and those above it.

    Raises ``NoPlatform`` when nothing names a URL, ``ConfigError`` when what names it is not usable.
    """
    given = url or environ.get("SOPHIA_URL")
    key = api_key or environ.get("SOPHIA_API_KEY") or None
    named_dir = data_dir or (Path(environ["SOPHIA_DATA_DIR"]) if environ.get("SOPHIA_DATA_DIR") else None)
    path = _find_file(folder, named_dir)
    found = _read(path) if path is not None else None
    if given:
        base = _checked(given, "--url" if url else "SOPHIA_URL")
        if key is None and found is not None and found.url.rstrip("/") == base:
            key = found.api_key or None
        return Address(url=base, api_key=key, source="--url" if url else "SOPHIA_URL")
    if found is None or path is None:
        where = str(named_dir) if named_dir else f"{folder / DATA_DIR} or a folder above"
        raise NoPlatform(
            f"no platform found: {where} has no {CLIENT_FILE}",
            mend="start one with `make up` (or `sophia up`), or name one with --url and --api-key",
        )
    return Address(url=_checked(found.url, str(path)), api_key=key or found.api_key or None, source=str(path))


def _find_file(folder: Path, named_dir: Path | None) -> Path | None:
    folders = [named_dir] if named_dir else [parent / DATA_DIR for parent in (folder, *folder.parents)]
    return next((each / CLIENT_FILE for each in folders if (each / CLIENT_FILE).is_file()), None)


def _read(path: Path) -> ClientFile:
    try:
        return msgspec.json.decode(path.read_bytes(), type=ClientFile)
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigError(
            f"{path} cannot be used: {error}", mend="start the platform again, which writes it anew, or name --url"
        ) from error


def _checked(url: str, source: str) -> str:
    try:
        parts = urlsplit(url)
        port_is_fine = parts.port is None or parts.port >= 0
    except ValueError:
        port_is_fine = False
    if not port_is_fine or parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"{source} is not a usable address", mend="write it as http://127.0.0.1:8080")
    return url.rstrip("/")
