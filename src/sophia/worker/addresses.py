"""Which addresses a fetch may lead to, checked where the connection is made."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class AddressRefused(OSError):
    """The address is not on the public internet. An ``OSError``, so that the connector reports it like one."""


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet: not loopback, private, link-local, shared, multicast or
    reserved, also when wrapped into an IPv6 address (mapped, 6to4, NAT64)."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        wrapped = ip.ipv4_mapped or ip.sixtofour
        if ip in _NAT64:
            wrapped = ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF)
        if wrapped is not None:
            return is_public(str(wrapped))
        if ip.is_site_local:
            return False
    return ip.is_global and not (ip.is_multicast or ip.is_reserved)


def public_socket(addr_info: tuple[Any, ...]) -> socket.socket:
    """A socket for a resolved address (as ``getaddrinfo`` gives it), or ``AddressRefused``.

    Called for every connection, after name resolution and with the very address that is connected to: a name that
    changes its address between a check and its use gains nothing, and literal addresses pass here too.
    """
    family, kind, protocol, _, address = addr_info
    if not is_public(str(address[0])):
        raise AddressRefused(f"the address {address[0]} is not on the public internet")
    return socket.socket(family=family, type=kind, proto=protocol)
