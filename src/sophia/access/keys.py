"""Texts of virtual keys, and the table of them that every gateway holds in memory."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Iterable

import msgspec

from sophia.access.base import KeyLimits, Scope, VirtualKey
from sophia.settings.keyring import Keyring

MARK = "sk-sophia-"
ID_BYTES = 8
SECRET_BYTES = 32
PREFIX_CHARACTERS = len(MARK) + 2 * ID_BYTES
ALL_SCOPES = (Scope.INFERENCE, Scope.TASKS, Scope.ADMIN)
CONFIGURED = "config"
"""Stands for the id of a key of ``sophia.yaml`` in what is counted by key."""


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks, and by which key."""

    tenant: str
    operator: bool = False
    key: str = CONFIGURED
    scopes: tuple[Scope, ...] = ALL_SCOPES
    limits: KeyLimits = KeyLimits()

    @property
    def admin(self) -> bool:
        return self.operator or Scope.ADMIN in self.scopes


def new_key_text() -> tuple[str, str]:
    """A new key's id and its text, which begins with the id and has 256 random bits after it."""
    key_id = secrets.token_hex(ID_BYTES)
    return key_id, f"{MARK}{key_id}-{secrets.token_urlsafe(SECRET_BYTES)}"


def digest_of(text: str, secret: bytes) -> str:
    return hmac.digest(secret, text.encode("utf-8", "surrogateescape"), "sha256").hex()


class KeyTable:
    """Virtual keys by their ids, and the configured ones. A look-up does no I/O; what is compared are digests under a
    secret, in constant time."""

    def __init__(self, configured: Keyring, secret: bytes) -> None:
        self._configured = configured
        self._secret = secret
        self._keys: dict[str, tuple[VirtualKey, Holder]] = {}
        self.loaded = False
        """Until then a virtual key that is not found may be a good one."""

    def load(self, keys: Iterable[VirtualKey]) -> None:
        self._keys = {key.id: (key, _holder(key)) for key in keys if key.revoked_at_ms is None}
        self.loaded = True

    def drop(self, key_id: str) -> None:
        self._keys.pop(key_id, None)

    def holder_of(self, text: str, now_ms: int) -> Holder | None:
        """``None`` for a key that nobody has, that has expired or was revoked."""
        if text.startswith(MARK):
            known = self._keys.get(text[len(MARK) : PREFIX_CHARACTERS])
            if known is not None:
                key, holder = known
                if not hmac.compare_digest(key.digest, digest_of(text, self._secret)):
                    return None
                return holder if key.expires_at_ms is None or now_ms < key.expires_at_ms else None
        found = self._configured.holder_of(text)
        return None if found is None else Holder(tenant=found.tenant, operator=found.operator)

    def is_virtual(self, text: str) -> bool:
        """Whether a text has the form of a virtual key."""
        rest = text.removeprefix(MARK)
        return rest != text and len(rest) > 2 * ID_BYTES and rest[2 * ID_BYTES] == "-"


def _holder(key: VirtualKey) -> Holder:
    return Holder(tenant=key.tenant, key=key.id, scopes=key.scopes, limits=key.limits)
