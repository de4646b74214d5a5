"""Embeddings as the cache keeps them: exact, and in either of the formats that a request may ask for."""

from __future__ import annotations

import binascii
import sys
from array import array
from typing import Any

import msgspec

from sophia.access.base import Entry


class Vector(msgspec.Struct, frozen=True, array_like=True):
    """``code``: ``f`` where float32 holds the numbers exactly, else ``d``. ``model`` is the provider's name of it."""

    model: str
    nano_usd: int
    code: str
    numbers: bytes
    """Little-endian."""


def vector_of(embedding: Any, model: str, nano_usd: int) -> Vector | None:
    """``None`` for what is none."""
    if isinstance(embedding, str):
        try:
            raw = binascii.a2b_base64(embedding, strict_mode=True)
        except (binascii.Error, ValueError):
            return None
        return Vector(model, nano_usd, "f", raw) if raw and len(raw) % 4 == 0 else None
    if not isinstance(embedding, list) or not embedding:
        return None
    try:
        double = array("d", embedding)
        single = array("f", embedding)
    except (TypeError, OverflowError):
        return None
    exact = single.tolist() == double.tolist()
    return Vector(model, nano_usd, "f" if exact else "d", _swapped(single if exact else double).tobytes())


def shown(vector: Vector, encoding_format: str) -> str | list[float]:
    numbers: array[float] = array("f" if vector.code == "f" else "d")
    numbers.frombytes(vector.numbers)
    numbers = _swapped(numbers)
    if encoding_format != "base64":
        return numbers.tolist()
    raw = vector.numbers if vector.code == "f" else _swapped(array("f", numbers)).tobytes()
    return binascii.b2a_base64(raw, newline=False).decode()


def entry(key: str, vector: Vector, ttl_s: float) -> Entry:
    return Entry(key, msgspec.msgpack.encode(vector), ttl_s)


def read_vector(value: bytes) -> Vector:
    return msgspec.msgpack.decode(value, type=Vector)


def _swapped(numbers: array[float]) -> array[float]:
    if sys.byteorder == "big":
        numbers = numbers[:]
        numbers.byteswap()
    return numbers
