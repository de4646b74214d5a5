"""Whether models fit a GPU: weights, KV cache, context. Estimates, meant to err on the careful side.

Weights take parameters times bytes per parameter; 4-bit weights in groups of 128 take 0.5625 bytes, and 3 % more for what
stays unquantized. A token takes 2 x layers x KV heads x head size x 2 bytes of KV cache. vLLM uses 92 % of a GPU, of which
activations and CUDA graphs take 2.5 GiB. With several GPUs everything is split between them (tensor parallelism).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import ceil, floor

import msgspec

from sophia.decisions.model_shapes import GONE, GPU_TYPES, GpuType, shape_of
from sophia.nouns.errors import InvalidInput
from sophia.nouns.pool import PoolSpec
from sophia.nouns.serving import ModelShape, Quantization, Serving
from sophia.nouns.wording import nearest
from sophia.settings.inference import ModelSettings

GIB = 1024**3
MEMORY_UTILIZATION = 0.92
"""vLLM 0.33's default."""
OVERHEAD_GIB = 2.5
KV_BYTES = 2
BYTES_PER_PARAM: Mapping[Quantization, float] = {
    Quantization.BF16: 2.0,
    Quantization.FP8: 1.0,
    Quantization.INT8: 1.0,
    Quantization.INT4: 0.5625 * 1.03,
}
SHORTEST_CONTEXT = 2048
"""Shorter ones are not proposed."""
PROPOSALS = 4


class Need(msgspec.Struct, frozen=True, kw_only=True):
    """One model as it is to be served."""

    model: str
    shape: ModelShape
    quantization: Quantization
    context_tokens: int
    sequences: int = 1


class Fit(msgspec.Struct, frozen=True, kw_only=True):
    """How a model sits on a GPU type. Memory is that of all its GPUs together, GiB."""

    model: str
    instance_type: str
    gpu: str
    tensor_parallel: int
    quantization: Quantization
    context_tokens: int
    fits: bool
    weights_gib: float
    kv_cache_gib: float
    """What is left for KV cache; negative: what is missing for the weights alone."""
    kv_bytes_per_token: int
    kv_tokens: int
    sequences: int
    """Of full context length that can run at once; an encoder's number is not bound by memory, and given as 0."""
    memory_utilization: float
    """Share of each GPU that the model's server may take."""
    reason: str
    instead: tuple[str, ...] = ()
    """What would fit, in words; empty when it fits."""


def need_of(
    model: str,
    *,
    serving: Serving | None = None,
    context_tokens: int | None = None,
    quantization: Quantization | None = None,
    sequences: int | None = None,
) -> Need | None:
    """``None``: nothing is known of such a model. What is given goes before what ``serving`` says."""
    shape = (serving.shape if serving else None) or shape_of(serving.repository if serving else model)
    shape = shape or shape_of(model)
    if shape is None:
        return None
    served = serving.context_tokens if serving else None
    return Need(
        model=model,
        shape=shape,
        quantization=quantization or (serving.quantization if serving else Quantization.BF16),
        context_tokens=min(context_tokens or served or shape.max_context_tokens, shape.max_context_tokens),
        sequences=sequences or (serving.sequences if serving else 1),
    )


def check(need: Need, instance_type: str) -> Fit:
    """One model alone on a GPU type. Raises ``InvalidInput`` for a type that is not known."""
    return place([need], instance_type)[0]


def place(needs: Sequence[Need], instance_type: str) -> list[Fit]:
    """Several models on the GPUs of one instance, each with a server of its own. Either all of them fit, or none is
    said to: each that fits alone says what the others take."""
    gpu = GPU_TYPES.get(instance_type)
    if gpu is None:
        raise InvalidInput(
            f"{instance_type!r} is no GPU type known here", field="gpu", mend=nearest(instance_type, sorted(GPU_TYPES))
        )
    usable_gib = gpu.memory_gib * MEMORY_UTILIZATION
    wanted_gib = [_wanted_gib(need, gpu) for need in needs]
    spare_gib = usable_gib - sum(wanted_gib)
    alone = [_fit(need, instance_type, gpu, MEMORY_UTILIZATION) for need in needs]
    if len(needs) == 1 or not all(fit.fits for fit in alone):
        return [_with_proposals(need, fit) for need, fit in zip(needs, alone, strict=True)]
    if spare_gib < 0:
        words = (
            f"{', '.join(need.model for need in needs)} together take {sum(wanted_gib):.1f} GiB of each GPU, "
            f"and {usable_gib:.1f} GiB are usable"
        )
        return [
            msgspec.structs.replace(fit, fits=False, reason=words, instead=("one pool for each model",))
            for fit in alone
        ]
    shares = [floor((gib + spare_gib / len(needs)) / gpu.memory_gib * 1000) / 1000 for gib in wanted_gib]
    return [_fit(need, instance_type, gpu, share) for need, share in zip(needs, shares, strict=True)]


def needs_of_pool(models: Mapping[str, ModelSettings], spec: PoolSpec) -> list[Need]:
    """The models of a pool that something is known of, as the settings want them served."""
    found = []
    for name in spec.models:
        settings = models.get(name)
        serving = settings.serving if settings else None
        context = (serving and serving.context_tokens) or (settings and settings.context_tokens) or None
        need = need_of(name, serving=serving, context_tokens=context)
        if need is not None:
            found.append(need)
    return found


def refusal(models: Mapping[str, ModelSettings], spec: PoolSpec, instance_type: str) -> str | None:
    """Why a pool's models must not be launched on this type, with what would fit; ``None`` when they fit, or when
    nothing is known that speaks against it."""
    needs = needs_of_pool(models, spec)
    if not needs or instance_type not in GPU_TYPES:
        return None
    for fit in place(needs, instance_type):
        if not fit.fits:
            proposal = f"; {fit.instead[0]} would do" if fit.instead else ""
            return f"{fit.reason}{proposal} (`sophia fit {fit.model} --gpu {instance_type}`)"
    return None


def _weights_gib(need: Need) -> float:
    return need.shape.params * BYTES_PER_PARAM[need.quantization] / GIB


def _kv_bytes(shape: ModelShape, gpus: int) -> int:
    """Of one token on each of so many GPUs: heads that do not divide are kept twice."""
    return 2 * shape.layers * ceil(shape.kv_heads / gpus) * shape.head_dim * KV_BYTES


def _wanted_gib(need: Need, gpu: GpuType) -> float:
    """Of each GPU."""
    cache = _kv_bytes(need.shape, gpu.count) * need.context_tokens * need.sequences / GIB
    return _weights_gib(need) / gpu.count + OVERHEAD_GIB + cache


def _fit(need: Need, instance_type: str, gpu: GpuType, utilization: float) -> Fit:
    shape = need.shape
    weights_gib = _weights_gib(need)
    room_gib = gpu.memory_gib * utilization - OVERHEAD_GIB - weights_gib / gpu.count
    per_token = _kv_bytes(shape, gpu.count)
    tokens = max(0, int(room_gib * GIB / per_token)) if per_token else 0
    sequences = tokens // need.context_tokens
    enough = room_gib >= 0 if per_token == 0 else sequences >= need.sequences
    gone = GONE.get(shape.architecture)
    obstacle = gone.words if gone else _indivisible(shape, gpu)
    return Fit(
        model=need.model,
        instance_type=instance_type,
        gpu=f"{gpu.count} x {gpu.name}",
        tensor_parallel=gpu.count,
        quantization=need.quantization,
        context_tokens=need.context_tokens,
        fits=enough and obstacle is None,
        weights_gib=round(weights_gib, 1),
        kv_cache_gib=round(room_gib * gpu.count, 1),
        kv_bytes_per_token=_kv_bytes(shape, 1),
        kv_tokens=tokens,
        sequences=sequences,
        memory_utilization=utilization,
        reason=obstacle if obstacle and enough else _reason(need, gpu, utilization, tokens, enough),
    )


def _indivisible(shape: ModelShape, gpu: GpuType) -> str | None:
    if shape.heads % gpu.count == 0:
        return None
    return f"its {shape.heads} attention heads cannot be divided among {gpu.count} GPUs"


def _reason(need: Need, gpu: GpuType, utilization: float, tokens: int, enough: bool) -> str:
    weights_gib = _weights_gib(need)
    room_gib = (gpu.memory_gib * utilization - OVERHEAD_GIB) * gpu.count
    takes = (
        f"{need.model} at {need.quantization} takes {weights_gib:.1f} GiB ({weights_gib * GIB / 1e9:.0f} GB) of weights"
    )
    if weights_gib > room_gib:
        return f"{takes}; {gpu.count} x {gpu.name} has {room_gib:.1f} GiB for it"
    if need.shape.kv_heads == 0:
        return f"{takes} of {room_gib:.1f} GiB, and keeps no KV cache"
    cache = f"{takes}; KV cache is left for {tokens} tokens"
    if enough:
        return f"{cache}, {tokens // need.context_tokens} sequences of {need.context_tokens} at once"
    return f"{cache}, and {need.sequences} x {need.context_tokens} are wanted"


def _with_proposals(need: Need, fit: Fit) -> Fit:
    if fit.fits:
        return fit
    gone = GONE.get(need.shape.architecture)
    if gone is None:
        found = list(_proposals(need, fit))
    else:
        successor = need_of(
            gone.successor,
            context_tokens=need.context_tokens,
            quantization=need.quantization,
            sequences=need.sequences,
        )
        found = [f"its successor {gone.successor}"]
        if successor is not None and not (there := check(successor, fit.instance_type)).fits:
            found = [f"its successor {gone.successor}: {words}" for words in there.instead]
    return msgspec.structs.replace(fit, instead=tuple(dict.fromkeys(found))[:PROPOSALS])


def _proposals(need: Need, fit: Fit) -> Iterator[str]:
    """A shorter context here, smaller weights here, then the smallest other GPUs."""
    gpu = GPU_TYPES[fit.instance_type]
    possible = fit.kv_tokens // need.sequences // 1024 * 1024
    if SHORTEST_CONTEXT <= possible < need.context_tokens:
        yield f"a context of {possible} tokens at {need.quantization} on {fit.instance_type}"
    for quantization in (Quantization.FP8, Quantization.INT4):
        smaller = msgspec.structs.replace(need, quantization=quantization)
        if BYTES_PER_PARAM[quantization] >= BYTES_PER_PARAM[need.quantization]:
            continue
        there = _fit(smaller, fit.instance_type, gpu, MEMORY_UTILIZATION)
        if there.fits:
            yield f"{quantization} on {fit.instance_type}"
            break
        possible = there.kv_tokens // need.sequences // 1024 * 1024
        if possible >= SHORTEST_CONTEXT:
            yield f"{quantization} with a context of {possible} tokens on {fit.instance_type}"
    by_size = sorted(GPU_TYPES.items(), key=lambda item: (item[1].count * item[1].memory_gib, item[1].count, item[0]))
    for quantization in dict.fromkeys((need.quantization, Quantization.INT4)):
        wanted = msgspec.structs.replace(need, quantization=quantization)
        if _fit(wanted, fit.instance_type, gpu, MEMORY_UTILIZATION).fits:
            continue
        for name, other in by_size:
            if other.bf16 and _fit(wanted, name, other, MEMORY_UTILIZATION).fits:
                yield f"{quantization} on {name}"
                break
