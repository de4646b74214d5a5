"""How a ledger's URL is read, and that TLS is verified unless it says otherwise."""

from __future__ import annotations

import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from sophia.nouns.errors import ConfigError, Unavailable
from sophia.store.postgres import connect_arguments
from sophia.store.sql import open_ledger
from tests.support.postgres import PostgresServer
from tests.support.records import finished
from tests.support.tls_proxy import tls_proxy

NEON = "postgresql://me:s3cret@ep-cool-1234-pooler.us-east-2.aws.neon.tech/app?sslmode=require&channel_binding=require"


@pytest.mark.parametrize(
    "url",
    [
        NEON,
        "postgres://me:s3cret@db.example.com/app",
        "postgresql://me@10.0.0.5/app?sslmode=verify-full",
        "postgresql://me@localhost/app?sslmode=require",
    ],
)
def test_certificates_and_names_are_verified(url: str) -> None:
    _, arguments = connect_arguments(url)
    tls = arguments["ssl"]
    assert isinstance(tls, ssl.SSLContext)
    assert tls.verify_mode is ssl.CERT_REQUIRED
    assert tls.check_hostname


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me@localhost/app",
        "postgresql://me@127.0.0.1:5433/app",
        "postgresql://me@[::1]/app",
        "postgresql:///app?host=/run/postgresql",
        "postgresql://me@db.internal/app?sslmode=disable",
    ],
)
def test_plain_on_this_machine_or_when_asked_for(url: str) -> None:
    _, arguments = connect_arguments(url)
    assert arguments["ssl"] is False


def test_nothing_is_prepared_that_a_transaction_pooler_would_lose() -> None:
    address, arguments = connect_arguments(NEON)
    assert arguments["statement_cache_size"] == arguments["prepared_statement_cache_size"] == 0
    assert arguments["prepared_statement_name_func"]() == ""
    assert address.query == {}


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("mysql://me:s3cret@host/app", "scheme 'mysql'"),
        ("postgresql://me:s3cret@host:port/app", "cannot be read"),
        ("postgresql://me:s3cret@host/app?sslmode=prefer", "sslmode=prefer"),
        ("postgresql://me:s3cret@host/app?sslmod=require", "'sslmod'"),
        ("postgresql://me:s3cret@host/app?sslrootcert=/nowhere.pem", "sslrootcert"),
        ("postgresql://me:s3cret@host/app?connect_timeout=soon", "connect_timeout"),
    ],
)
def test_bad_urls_are_refused_without_showing_the_password(url: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        open_ledger(url, tmp_path)
    assert "s3cret" not in f"{caught.value} {caught.value.mend}"
    assert caught.value.field == "ledger.url"
    assert caught.value.mend


class TestTls:
    async def test_only_a_trusted_certificate_for_the_right_name(
        self, postgres_server: PostgresServer, postgres_url: str, tmp_path: Path
    ) -> None:
        database = postgres_url.partition("?")[0].rpartition("/")[2]
        async with tls_proxy(postgres_server.socket, tmp_path) as proxy:
            trusted = f"sslrootcert={proxy.certificate}"
            for host, parameters in (("localhost", "sslmode=require"), ("127.0.0.1", f"sslmode=require&{trusted}")):
                ledger = open_ledger(f"postgresql://sophia@{host}:{proxy.port}/{database}?{parameters}", tmp_path)
                with pytest.raises(ConfigError, match="certificate"):
                    await ledger.migrate()
                await ledger.close()
            for host, mode in (("localhost", "verify-full"), ("127.0.0.1", "verify-ca")):
                url = f"postgresql://sophia@{host}:{proxy.port}/{database}?sslmode={mode}&{trusted}"
                ledger = open_ledger(url, tmp_path)
                await ledger.migrate()
                done = finished()
                await ledger.record([done])
                assert await ledger.task(done.task.id) == done
                await ledger.close()

    async def test_a_server_without_tls_is_refused(self, postgres_server: PostgresServer, tmp_path: Path) -> None:
        async with tls_proxy(postgres_server.socket, tmp_path, refuse=True) as proxy:
            ledger = open_ledger(f"postgresql://sophia@localhost:{proxy.port}/postgres?sslmode=require", tmp_path)
            with pytest.raises(Unavailable):
                await ledger.task("nobody")
            await ledger.close()


def test_drivers_are_imported_only_when_used() -> None:
    script = "import sys, sophia.store.sql; print([name for name in ('asyncpg', 'aiosqlite') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == "[]\n"
