"""Looking at ports."""

from __future__ import annotations

import errno
import socket

from sophia.nouns.errors import ConfigError


def require_free(host: str, port: int, label: str) -> None:
    """Raises ``ConfigError`` when something listens there already."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            reasons = {
                errno.EADDRINUSE: "is in use",
                errno.EACCES: "may not be opened by this user",
                errno.EADDRNOTAVAIL: "is on an address that this machine does not have",
            }
            raise ConfigError(
                f"port {port} on {host} ({label}) {reasons.get(error.errno or 0, f'cannot be opened: {error.strerror}')}",
                field="--port",
                mend="stop what uses it, or choose another: sophia up --port 18080 (make up PORT=18080)",
            ) from error


def free_port(host: str) -> int:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


async def answers_health(url: str) -> bool:
    """Whether ``GET {url}/health`` answers 200."""
    import aiohttp

    try:
        timeout = aiohttp.ClientTimeout(total=2)
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(f"{url}/health") as answer:
            return answer.status == 200
    except (aiohttp.ClientError, TimeoutError, OSError):
        return False
