"""Postgres by URL: TLS verified unless the server is on this machine, and nothing that a transaction pooler forbids."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Mapping
from typing import Any

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from sophia.nouns.errors import ConfigError

CONNECT_TIMEOUT_S = 15.0
"""A Neon database that sleeps takes some hundred milliseconds to wake; a cold machine longer."""
COMMAND_TIMEOUT_S = 25.0
_POOL_SIZE = 5
_POOL_TIMEOUT_S = 10.0
_RECYCLE_S = 1_500.0

_PARAMETERS = ("sslmode", "sslrootcert", "host", "channel_binding", "application_name", "connect_timeout")
_SSL_MODES = ("disable", "require", "verify-ca", "verify-full")


def postgres_engine(url: str) -> tuple[AsyncEngine, str]:
    """An engine and its name for messages (``postgresql://host/database``). Raises ``ConfigError``; connects to nothing."""
    address, arguments = connect_arguments(url)
    try:
        engine = create_async_engine(
            address,
            connect_args=arguments,
            pool_size=_POOL_SIZE,
            max_overflow=0,
            pool_timeout=_POOL_TIMEOUT_S,
            # A pooler and a database that went to sleep close idle connections without a word.
            pool_pre_ping=True,
            pool_recycle=_RECYCLE_S,
        )
    except ModuleNotFoundError as error:
        raise ConfigError(
            "a postgresql:// ledger needs the driver asyncpg", field="ledger.url", mend="pip install 'sophia[postgres]'"
        ) from error
    return engine, f"postgresql://{arguments.get('host') or address.host or 'local'}/{address.database or ''}"


def connect_arguments(url: str) -> tuple[URL, dict[str, Any]]:
    """What to connect to and how. libpq's URL parameters are understood where they have a meaning here; ``require``
    verifies the certificate too. Raises ``ConfigError``, never showing the password."""
    try:
        given = make_url(url)
    except (ArgumentError, ValueError):
        # Not chained: the driver's message may quote the whole URL.
        raise ConfigError(
            "the ledger's URL cannot be read", field="ledger.url", mend="postgresql://user:password@host/database"
        ) from None
    query = {name: value if isinstance(value, str) else value[-1] for name, value in given.query.items()}
    for name in query:
        if name not in _PARAMETERS:
            raise ConfigError(
                f"the ledger's URL has the unknown parameter {name!r}",
                field="ledger.url",
                mend="one of " + ", ".join(_PARAMETERS),
            )
    host = query.get("host") or given.host
    arguments: dict[str, Any] = {
        "ssl": _tls(query, host),
        "timeout": _seconds(query),
        "command_timeout": COMMAND_TIMEOUT_S,
        # A pooler in transaction mode (Neon's "-pooler" hosts, PgBouncer) gives the next transaction another server
        # connection, where a statement prepared before is unknown and its name may be taken. So none is kept, and
        # each uses the protocol's unnamed slot, which leaves nothing behind on a server connection that others get.
        "statement_cache_size": 0,
        "prepared_statement_cache_size": 0,
        "prepared_statement_name_func": str,
        "server_settings": {"application_name": query.get("application_name", "sophia")},
    }
    if host is not None:
        arguments["host"] = host
    address = given.set(drivername="postgresql+asyncpg", query={}, host=None if query.get("host") else given.host)
    return address, arguments


def _tls(query: Mapping[str, str], host: str | None) -> ssl.SSLContext | bool:
    mode = query.get("sslmode") or ("disable" if _is_local(host) else "verify-full")
    if mode not in _SSL_MODES:
        # allow and prefer fall back to plain text when somebody on the way wishes so.
        raise ConfigError(
            f"the ledger's URL has sslmode={mode}", field="ledger.url", mend="one of " + ", ".join(_SSL_MODES)
        )
    if mode == "disable":
        return False
    root = query.get("sslrootcert")
    try:
        context = ssl.create_default_context(cafile=None if root in (None, "system") else root)
    except OSError as error:
        raise ConfigError(
            f"sslrootcert={root} cannot be read: {error}", field="ledger.url", mend="a file of PEM certificates"
        ) from error
    context.check_hostname = mode != "verify-ca"
    return context


def _is_local(host: str | None) -> bool:
    if host is None or host.startswith("/") or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _seconds(query: Mapping[str, str]) -> float:
    text = query.get("connect_timeout")
    if text is None:
        return CONNECT_TIMEOUT_S
    if not text.isdecimal() or int(text) == 0:
        raise ConfigError(
            f"connect_timeout={text} is no number of seconds", field="ledger.url", mend="connect_timeout=10"
        )
    return float(text)
