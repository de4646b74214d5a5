"""Drivers' errors as ours. Every call to a database goes through ``translated``."""

from __future__ import annotations

import shutil
import sqlite3
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from sqlalchemy.exc import DBAPIError, SQLAlchemyError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from sophia.nouns.errors import ConfigError, InvalidInput, SophiaError, StorageFull, Unavailable

_DISK_IS_FULL_BYTES = 1 << 20
"""SQLite reports some writes that found no room as plain I/O errors; with less than this left they mean a full disk."""

_SQLITE_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_SQLITE_BAD_VALUE = (sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH)
_SQLITE_LATER = (
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_INTERRUPT,
)

# https://www.postgresql.org/docs/current/errcodes-appendix.html
_PG_FULL = ("53100", "53200")
_PG_REFUSED = ("28", "3D", "3F", "42501")
_PG_NO_SCHEMA = ("42P01", "42703")
_PG_LATER = ("08", "25006", "40", "53", "55", "57", "58", "XX")
_PG_BAD_VALUE = ("22", "54")


@contextmanager
def translated(place: str, path: Path | None = None) -> Iterator[None]:
    """Raise what goes wrong inside as one of ``nouns.errors``. ``place`` names the database, without secrets;
    ``path`` is its file, if it is one."""
    try:
        yield
    except SophiaError:
        raise
    except DBAPIError as error:
        raise _of_driver(error, place, path) from error
    except PoolTimeout as error:
        raise Unavailable(f"{place}: all connections are busy") from error
    except SQLAlchemyError as error:
        if isinstance(error, StatementError) and isinstance(error.orig, SophiaError):
            raise error.orig from None
        raise SophiaError(f"{place}: {error}") from error
    except TimeoutError as error:
        raise Unavailable(f"{place}: no answer in time") from error
    except ssl.SSLCertVerificationError as error:
        raise ConfigError(
            f"{place}: the server's certificate is not trusted: {error.verify_message}",
            field="ledger.url",
            mend="name the authority's file with sslrootcert=, or correct the host name",
        ) from error
    except OSError as error:
        raise Unavailable(f"{place}: {error}") from error
    except (OverflowError, UnicodeError) as error:
        raise InvalidInput(f"a value cannot be stored in the ledger: {error}") from error
    except msgspec.MsgspecError as error:
        raise ConfigError(
            f"{place} holds a record that this version cannot read: {error}", mend="run the newest Sophia that wrote it"
        ) from error


def sqlite_fault(error: BaseException, place: str, path: Path | None) -> SophiaError:
    """One of ``sqlite3``'s errors as ours."""
    primary = getattr(error, "sqlite_errorcode", 0) & 0xFF
    message = f"{place}: {error}"
    if primary == sqlite3.SQLITE_FULL or (primary == sqlite3.SQLITE_IOERR and _is_full(path)):
        return StorageFull(f"{place}: the disk is full")
    if primary in _SQLITE_LATER:
        return Unavailable(message)
    if primary in _SQLITE_DAMAGED:
        return ConfigError(message, field="data_dir", mend="restore the file from a backup, or move it away")
    if primary in _SQLITE_BAD_VALUE:
        return InvalidInput(message)
    return _no_schema(place) if "no such table" in str(error) else SophiaError(message)


def _of_driver(error: DBAPIError, place: str, path: Path | None) -> SophiaError:
    cause = error.orig
    if isinstance(cause, sqlite3.Error):
        return sqlite_fault(cause, place, path)
    sqlstate = getattr(cause, "sqlstate", None) or ""
    message = f"{place}: {_first_line(cause)}"
    if sqlstate in _PG_FULL:
        return StorageFull(message)
    if sqlstate in _PG_NO_SCHEMA:
        return _no_schema(place)
    if sqlstate.startswith(_PG_REFUSED):
        return ConfigError(message, field="ledger.url", mend="check the user, its password and its rights")
    if sqlstate.startswith(_PG_BAD_VALUE):
        return InvalidInput(message)
    if sqlstate.startswith(_PG_LATER) or error.connection_invalidated or not sqlstate:
        return Unavailable(message)
    return SophiaError(message)


def _no_schema(place: str) -> ConfigError:
    return ConfigError(f"{place} has no tables yet", field="ledger", mend="start Sophia, which creates them")


def _first_line(cause: BaseException | None) -> str:
    # SQLAlchemy puts the driver's class before its words.
    return str(cause).partition("\n")[0].rpartition(">: ")[2]


def _is_full(path: Path | None) -> bool:
    try:
        return path is not None and shutil.disk_usage(path.parent).free < _DISK_IS_FULL_BYTES
    except OSError:
        return False
