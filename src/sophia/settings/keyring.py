"""Which tenant an API key belongs to."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

from sophia.settings.loaded import TenantKey


class Keyring:
    """Holds digests of the keys only. Every lookup compares all of them, each in constant time."""

    def __init__(self, keys: Sequence[TenantKey]) -> None:
        self._digests = tuple((_digest(key.key), key.tenant) for key in keys)

    def tenant_of(self, key: str) -> str | None:
        """``None`` for a key that nobody has."""
        offered = _digest(key)
        found = None
        for digest, tenant in self._digests:
            if hmac.compare_digest(digest, offered):
                found = tenant
        return found


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
