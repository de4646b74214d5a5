"""Shapes of models and memory of GPUs that are known by name.

Shapes are those of the models' published ``config.json``. GPU memory is what CUDA reports as usable, GiB; 39.4, 47.4 and
79.2 were read off such cards, the others are their nominal figures less the same share.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from sophia.nouns.serving import ModelShape


class GpuType(msgspec.Struct, frozen=True):
    """The GPUs of one instance type."""

    name: str
    count: int
    memory_gib: float
    """Of each."""
    native_fp8: bool
    """Else FP8 weights are unpacked on the way: as small, not faster."""
    bf16: bool = True
    """Else half precision is FP16."""


_A10 = ("A10", 22.0, False)
_A100_40 = ("A100 40 GB", 39.4, False)
_A100_80 = ("A100 80 GB", 79.2, False)
_A6000 = ("RTX A6000 48 GB", 47.4, False)
_H100 = ("H100 80 GB", 79.2, True)
_GH200 = ("GH200 96 GB", 94.5, True)
_B200 = ("B200 180 GB", 177.0, True)


def _gpus(card: tuple[str, float, bool], *counts: int, suffix: str) -> dict[str, GpuType]:
    return {f"gpu_{n}x_{suffix}": GpuType(card[0], n, card[1], card[2]) for n in counts}


GPU_TYPES: Mapping[str, GpuType] = {
    "gpu_1x_rtx6000": GpuType("Quadro RTX 6000 24 GB", 1, 23.4, False, bf16=False),
    "gpu_8x_v100": GpuType("V100 16 GB", 8, 15.7, False, bf16=False),
    "gpu_8x_v100_n": GpuType("V100 16 GB", 8, 15.7, False, bf16=False),
    **_gpus(_A10, 1, suffix="a10"),
    **_gpus(_A6000, 1, 2, 4, suffix="a6000"),
    **_gpus(_A100_40, 1, suffix="a100_sxm4"),
    **_gpus(_A100_40, 1, 2, 4, 8, suffix="a100"),
    **_gpus(_A100_80, 8, suffix="a100_80gb_sxm4"),
    **_gpus(_H100, 1, suffix="h100_pcie"),
    **_gpus(_H100, 1, 2, 4, 8, suffix="h100_sxm5"),
    **_gpus(_GH200, 1, suffix="gh200"),
    **_gpus(_B200, 1, 2, 8, suffix="b200_sxm6"),
}


def _decoder(
    params: float, layers: int, heads: int, kv_heads: int, context: int, architecture: str = "LlamaForCausalLM"
) -> ModelShape:
    return ModelShape(
        params=params,
        architecture=architecture,
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=128,
        max_context_tokens=context,
    )


_QWEN2 = "Qwen2ForCausalLM"
SHAPES: Mapping[str, ModelShape] = {
    "deepseek-coder-6.7b": _decoder(6.74e9, 32, 32, 32, 16_384),
    "deepseek-coder-33b": _decoder(33.3e9, 62, 56, 8, 16_384),
    "llama-3.1-8b": _decoder(8.03e9, 32, 32, 8, 131_072),
    "llama-3.1-70b": _decoder(70.6e9, 80, 64, 8, 131_072),
    "llama-3.3-70b": _decoder(70.6e9, 80, 64, 8, 131_072),
    "mixtral-8x7b": _decoder(46.7e9, 32, 32, 8, 32_768, "MixtralForCausalLM"),
    "qwen-72b": _decoder(72.3e9, 80, 64, 64, 32_768, "QWenLMHeadModel"),
    "qwen2-72b": _decoder(72.7e9, 80, 64, 8, 32_768, _QWEN2),
    "qwen2.5-7b": _decoder(7.62e9, 28, 28, 4, 32_768, _QWEN2),
    "qwen2.5-32b": _decoder(32.8e9, 64, 40, 8, 32_768, _QWEN2),
    "qwen2.5-72b": _decoder(72.7e9, 80, 64, 8, 32_768, _QWEN2),
    "bge-large-en-v1.5": ModelShape(
        params=335e6, architecture="BertModel", layers=24, heads=16, kv_heads=0, head_dim=64, max_context_tokens=512
    ),
}


class Gone(msgspec.Struct, frozen=True):
    words: str
    successor: str


GONE: Mapping[str, Gone] = {
    "QWenLMHeadModel": Gone("vLLM serves the first Qwen no longer (0.23 was the last that did)", "qwen2-72b-instruct")
}
"""Architectures that vLLM 0.33 does not serve any more."""


def shape_of(model: str) -> ModelShape | None:
    """By name, with or without its owner, ``-instruct`` or ``-chat``; ``None``: not known here."""
    name = model.lower().rpartition("/")[2]
    for ending in ("", "-instruct", "-chat", "-instruct-v0.1"):
        shape = SHAPES.get(name.removesuffix(ending))
        if shape is not None:
            return shape
    return None
