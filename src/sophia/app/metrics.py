"""Prometheus metrics of one process, or of all processes of one machine together."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import REGISTRY, CollectorRegistry, start_http_server
from prometheus_client.multiprocess import MultiProcessCollector

from sophia.nouns.errors import ConfigError
from sophia.settings.loaded import Loaded


@contextlib.contextmanager
def metrics_server(port: int | None, loaded: Loaded, shared_dir: Path | None = None) -> Iterator[None]:
    """``/metrics`` on ``port`` while in the context; nothing without a port.

    With ``shared_dir`` it sums up what the processes that write there have counted.
    """
    if port is None:
        yield
        return
    registry = REGISTRY
    if shared_dir is not None:
        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=str(shared_dir))  # type: ignore[no-untyped-call]
    host = loaded.settings.server.host
    try:
        server, thread = start_http_server(port, addr=host, registry=registry)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(
                f"port {port} on {host} is in use", field="metrics_port", mend="choose another"
            ) from error
        raise
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
