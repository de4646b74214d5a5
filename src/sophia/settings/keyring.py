"""Whose an API key is."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

import msgspec

from sophia.settings.loaded import TenantKey


class Holder(msgspec.Struct, frozen=True):
    """Who holds a key."""

    tenant: str
    operator: bool = False


class Keyring:
    """Holds digests of the keys only. Every lookup compares all of them, each in constant time."""

    def __init__(self, keys: Sequence[TenantKey]) -> None:
        self._digests = tuple((_digest(key.key), Holder(key.tenant, key.operator)) for key in keys)

    def tenant_of(self, key: str) -> str | None:
        """``None`` for a key that nobody has."""
        holder = self.holder_of(key)
        return None if holder is None else holder.tenant

    def holder_of(self, key: str) -> Holder | None:
        """``None`` for a key that nobody has."""
        offered = _digest(key)
        found = None
        for digest, holder in self._digests:
            if hmac.compare_digest(digest, offered):
                found = holder
        return found


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
