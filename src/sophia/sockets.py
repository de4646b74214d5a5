"""Listening sockets, with errors that a user understands."""

from __future__ import annotations

import errno
import socket

from sophia.nouns.errors import ConfigError

BACKLOG = 2048


def bind(host: str, port: int, setting: str) -> socket.socket:
    """A listening TCP socket; port 0 takes a free one. ``setting`` is what the user would change.

    Raises ``ConfigError`` when the port is in use, not allowed, or the host is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise _refused(error, host, port, setting) from error
    return listener


def port_of(listener: socket.socket) -> int:
    return int(listener.getsockname()[1])


def _refused(error: OSError, host: str, port: int, setting: str) -> ConfigError:
    if error.errno == errno.EADDRINUSE:
        return ConfigError(
            f"port {port} on {host} is in use", field=setting, mend="stop what listens there, or choose another port"
        )
    if error.errno == errno.EACCES:
        return ConfigError(f"port {port} may not be opened", field=setting, mend="a port from 1024 up")
    return ConfigError(f"cannot listen on {host} port {port}: {error.strerror or error}", field=setting)
