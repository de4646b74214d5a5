"""Sizes and prices of Fly's machines (its pricing page of October 2026). Machines are paid by the second while started."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from sophia.nouns.errors import InvalidInput

CPU_USD_PER_S: Mapping[str, float] = {"shared": 8.465e-07, "performance": 1.2732e-05}
RAM_USD_PER_S = 2.316e-06
"""Of each GB above what comes with the CPUs. All three in region iad."""
INCLUDED_GB: Mapping[str, float] = {"shared": 0.25, "performance": 2.0}
"""With each CPU."""
MEMORY_MB_PER_CPU: Mapping[str, tuple[int, int]] = {"shared": (256, 2048), "performance": (2048, 8192)}
"""Least (which is the default) and most."""
CPUS: Mapping[str, frozenset[int]] = {
    "shared": frozenset({1, 2, 4, 6, 8}),
    "performance": frozenset({1, 2, 4, 6, 8, 10, 12, 14, 16}),
}
MARKUP: Mapping[str, float] = {
    "ams": 1.038461538,
    "arn": 1.038461538,
    "cdg": 1.134615385,
    "dfw": 1.25,
    "ewr": 1.0,
    "fra": 1.153846154,
    "gru": 1.615384615,
    "iad": 1.0,
    "jnb": 1.302884615,
    "lax": 1.199519231,
    "lhr": 1.134615385,
    "nrt": 1.307692308,
    "ord": 1.25,
    "sin": 1.269230769,
    "sjc": 1.192307692,
    "syd": 1.269230769,
    "yyz": 1.115384615,
}
UNKNOWN_MARKUP = max(MARKUP.values())
"""A region without a price is held for the dearest."""
_NAME = re.compile(r"^(shared-cpu|performance)-(\d+)x(?:-(\d+))?$")


class FlySize(msgspec.Struct, frozen=True, kw_only=True):
    cpu_kind: str
    cpus: int
    memory_mb: int

    @property
    def name(self) -> str:
        """As instance types are called: ``shared-cpu-2x-4096``, the last part being MB of memory."""
        prefix = "shared-cpu" if self.cpu_kind == "shared" else self.cpu_kind
        return f"{prefix}-{self.cpus}x-{self.memory_mb}"

    def usd_per_s(self, region: str) -> float:
        extra_gb = self.memory_mb / 1024 - INCLUDED_GB[self.cpu_kind] * self.cpus
        return (self.cpus * CPU_USD_PER_S[self.cpu_kind] + extra_gb * RAM_USD_PER_S) * MARKUP.get(
            region, UNKNOWN_MARKUP
        )

    def usd_per_hour(self, region: str) -> float:
        return round(self.usd_per_s(region) * 3600, 6)


def size_named(name: str) -> FlySize:
    """Raises ``InvalidInput`` for a size that Fly does not have. Without memory in its name it has the default."""
    match = _NAME.match(name)
    if match is None:
        raise InvalidInput(
            f"{name!r} is no size of Fly's machines",
            field="instance_types",
            mend="shared-cpu-2x, or with MB of memory shared-cpu-2x-4096; performance-2x",
        )
    kind = "shared" if match[1] == "shared-cpu" else "performance"
    cpus = int(match[2])
    if cpus not in CPUS[kind]:
        raise InvalidInput(
            f"{name!r}: Fly has no {kind} machine of {cpus} CPUs",
            field="instance_types",
            mend=f"one of {', '.join(map(str, sorted(CPUS[kind])))}",
        )
    least, most = (each * cpus for each in MEMORY_MB_PER_CPU[kind])
    memory_mb = int(match[3]) if match[3] else least
    if not least <= memory_mb <= most or memory_mb % 256:
        raise InvalidInput(
            f"{name!r}: {memory_mb} MB of memory cannot be had with {cpus} {kind} CPUs",
            field="instance_types",
            mend=f"{least} to {most}, in steps of 256",
        )
    return FlySize(cpu_kind=kind, cpus=cpus, memory_mb=memory_mb)
