"""What GPU hosts are tested with: a pool manager's signs of life, a CUDA driver made of memory, rendered plans."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from sophia.decisions.fit import check, need_of
from sophia.events.base import EventLog
from sophia.hosts.cloud_init import HostPlan, ServedModel
from sophia.nouns.pool import PoolsSnapshot
from sophia.pools.journal import SNAPSHOT

SIGN_EVERY_S = 0.2


@contextlib.asynccontextmanager
async def signs_of_life(events: EventLog) -> AsyncIterator[None]:
    """A pool manager at work, as hosts see one."""

    async def show() -> None:
        while True:
            snapshot = PoolsSnapshot(at_ms=time.time_ns() // 1_000_000, pools=())
            await events.put_snapshot(SNAPSHOT, msgspec.json.encode(snapshot))
            await asyncio.sleep(SIGN_EVERY_S)

    task = asyncio.create_task(show())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class CudaDriver:
    """Stands for libcuda: devices whose memory is this process's. ``broken`` copies wrong bytes."""

    def __init__(self, devices: int, *, broken: bool = False, starts: bool = True) -> None:
        self.devices, self.broken, self.starts = devices, broken, starts
        self.held: dict[int, Any] = {}

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: 0

    def cuInit(self, flags: int) -> int:  # noqa: N802 - the driver's name
        return 0 if self.starts else 999

    def cuDeviceGetCount(self, count: Any) -> int:  # noqa: N802
        count._obj.value = self.devices
        return 0

    def cuMemAlloc_v2(self, pointer: Any, size: Any) -> int:  # noqa: N802
        memory = ctypes.create_string_buffer(size.value)
        pointer._obj.value = ctypes.addressof(memory)
        self.held[pointer._obj.value] = memory
        return 0

    def cuMemFree_v2(self, pointer: Any) -> int:  # noqa: N802
        del self.held[pointer.value]
        return 0

    def cuMemsetD8_v2(self, pointer: Any, value: Any, size: Any) -> int:  # noqa: N802
        ctypes.memset(pointer.value, value.value, size.value)
        return 0

    def cuMemcpyDtoD_v2(self, to: Any, of: Any, size: Any) -> int:  # noqa: N802
        ctypes.memmove(to.value, of.value, size.value - self.broken)
        return 0

    def cuMemcpyDtoH_v2(self, to: Any, of: Any, size: Any) -> int:  # noqa: N802
        ctypes.memmove(to, of.value, size.value)
        return 0


def host_plan(**changes: Any) -> HostPlan:
    need = need_of("mixtral-8x7b", context_tokens=8192, quantization=None)
    assert need is not None
    model = ServedModel(check(need, "gpu_2x_h100_sxm5"), "mistralai/Mixtral-8x7B-Instruct-v0.1")
    values: dict[str, Any] = {
        "instance_id": "inference-0a1b2c",
        "pool": "inference",
        "join_url": "https://api.example.com",
        "join_token": "token-of-this-host",
        "image": "ghcr.io/sophia-intel/gpu-runner",
        "gpus": 2,
        "lease_s": 900.0,
        "drain_s": 30.0,
        "restart_s": 10.0,
        "models": (model,),
    }
    return HostPlan(**(values | changes))
