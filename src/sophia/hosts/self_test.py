"""Whether the GPUs of this host work: through the driver alone, so that it runs in every image.

A cloud calls a host active up to a minute before CUDA works. So each GPU takes memory, writes a pattern into it, copies it
on the device and back to the host, where it is compared.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import msgspec

from sophia.nouns.errors import Unavailable

LIBRARY = "libcuda.so.1"
TRY_BYTES = 16 * 1024 * 1024
PATTERN = 0xA5


class GpuReport(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    memory_bytes: int
    free_bytes: int


def self_test(expected: int | None, load: Callable[[str], Any] = ctypes.CDLL) -> list[GpuReport]:
    """Try every GPU. Raises ``Unavailable`` that says what does not work, also when there are not ``expected`` of them."""
    try:
        cuda = load(LIBRARY)
    except OSError as error:
        raise Unavailable(f"there is no CUDA driver here: {error}") from error
    _ok(cuda, "cuInit", 0)
    count = ctypes.c_int()
    _ok(cuda, "cuDeviceGetCount", ctypes.byref(count))
    if count.value == 0 or (expected is not None and count.value != expected):
        raise Unavailable(f"{count.value} GPUs are usable here, and {expected or 'at least one'} should be")
    return [_tried(cuda, number) for number in range(count.value)]


def _tried(cuda: Any, number: int) -> GpuReport:
    device, context, name = ctypes.c_int(), ctypes.c_void_p(), ctypes.create_string_buffer(128)
    _ok(cuda, "cuDeviceGet", ctypes.byref(device), number)
    _ok(cuda, "cuDeviceGetName", name, len(name), device)
    # The primary context: its functions have kept their form through all versions of CUDA.
    _ok(cuda, "cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
    try:
        _ok(cuda, "cuCtxSetCurrent", context)
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        _ok(cuda, "cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
        _write_and_read(cuda, number)
    finally:
        _ok(cuda, "cuDevicePrimaryCtxRelease_v2", device)
    return GpuReport(name=name.value.decode(errors="replace"), memory_bytes=total.value, free_bytes=free.value)


def _write_and_read(cuda: Any, number: int) -> None:
    first, second = ctypes.c_uint64(), ctypes.c_uint64()
    size = ctypes.c_size_t(TRY_BYTES)
    held = []
    try:
        for pointer in (first, second):
            _ok(cuda, "cuMemAlloc_v2", ctypes.byref(pointer), size)
            held.append(pointer)
        _ok(cuda, "cuMemsetD8_v2", first, ctypes.c_ubyte(PATTERN), size)
        _ok(cuda, "cuMemcpyDtoD_v2", second, first, size)
        read = (ctypes.c_ubyte * TRY_BYTES)()
        _ok(cuda, "cuMemcpyDtoH_v2", read, second, size)
        if bytes(read) != bytes([PATTERN]) * TRY_BYTES:
            raise Unavailable(f"GPU {number} gives back other bytes than were written")
    finally:
        for pointer in held:
            _ok(cuda, "cuMemFree_v2", pointer)


def _ok(cuda: Any, function: str, *arguments: Any) -> None:
    code = getattr(cuda, function)(*arguments)
    if code != 0:
        raise Unavailable(f"{function} failed with CUDA error {code}")
