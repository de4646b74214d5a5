"""What a language model is to the GPU that serves it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec

CountFrom1 = Annotated[int, msgspec.Meta(ge=1)]


class Quantization(StrEnum):
    """Form of the weights. ``int4``: AWQ or GPTQ in groups of 128."""

    BF16 = "bf16"
    FP8 = "fp8"
    INT8 = "int8"
    INT4 = "int4"


class ModelShape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The figures of a model's ``config.json`` that decide how much memory it takes."""

    params: Annotated[float, msgspec.Meta(gt=0)]
    architecture: str
    layers: CountFrom1
    heads: CountFrom1
    kv_heads: Annotated[int, msgspec.Meta(ge=0)]
    """0: an encoder, which keeps no KV cache."""
    head_dim: CountFrom1
    max_context_tokens: CountFrom1


class Serving(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a model is served on a GPU host of ours."""

    repository: str
    """Its name on the model hub, as vLLM loads it; with ``int8`` and ``int4``, of weights in that form."""
    quantization: Quantization = Quantization.BF16
    context_tokens: CountFrom1 | None = None
    """``null``: the model's ``context_tokens``, else its longest."""
    sequences: CountFrom1 = 1
    """So many of full length must fit at once; shorter ones share the same room."""
    shape: ModelShape | None = None
    """``null``: known by name."""
