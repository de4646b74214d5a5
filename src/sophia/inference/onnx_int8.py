"""Dense layers in 8-bit integers, for ONNX Runtime on CPUs.

Weights have one scale for each output (symmetric), activations one for each *token*, found while running: with one scale
for a whole batch, as in plain dynamic quantization, a few outlying tokens cost all others their precision. Tokens are
divided by their largest entry first, so that ONNX Runtime's kernels, which take one scale only, can be used.
After a GELU nothing is below -0.17: its outputs get a zero point near the bottom of the range, and nearly twice the steps.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sophia.inference.onnx_nodes import Nodes

_MIDDLE = 128
_LOW = 16
_GELU_LEAST = 0.17
_TINY = np.float32(1e-12)

Array = np.ndarray[Any, np.dtype[np.float32]]


def dense_int8(nodes: Nodes, name: str, value: str, weight: Array, bias: Array, *, after_gelu: bool) -> str:
    """``weight`` as PyTorch keeps it: (outputs, inputs)."""
    tokens, largest, zero, step = _gelu_tokens(nodes, value) if after_gelu else _tokens(nodes, value)
    scale = np.maximum(np.abs(weight).max(axis=1) / 127, _TINY).astype(np.float32)
    whole = np.clip(np.rint(weight / scale[:, None]), -127, 127).astype(np.int8)
    product = nodes.microsoft(
        "MatMulIntegerToFloat",
        tokens,
        nodes.constant(f"{name}.int8", np.ascontiguousarray(whole.T)),
        step,
        nodes.constant(f"{name}.scale", scale),
        zero,
    )
    return nodes.op("Add", nodes.op("Mul", product, largest), nodes.constant(f"{name}.bias", bias))


def _tokens(nodes: Nodes, value: str) -> tuple[str, str, str, str]:
    sizes = nodes.op("ReduceMax", nodes.op("Abs", value), nodes.integers("last_axis", -1), keepdims=1)
    largest = nodes.op("Max", sizes, nodes.constant("tiny_token", _TINY))
    step = nodes.constant("step", np.float32(1 / 127))
    zero = nodes.constant("middle", np.uint8(_MIDDLE))
    return nodes.op("QuantizeLinear", nodes.op("Div", value, largest), step, zero), largest, zero, step


def _gelu_tokens(nodes: Nodes, value: str) -> tuple[str, str, str, str]:
    most = 255 - _LOW
    # A token whose largest entry is below this would have its negative ones cut.
    least = nodes.constant("least_gelu", np.float32(_GELU_LEAST * most / _LOW))
    sizes = nodes.op("ReduceMax", value, nodes.integers("last_axis", -1), keepdims=1)
    largest = nodes.op("Max", sizes, least)
    step = nodes.constant("gelu_step", np.float32(1 / most))
    zero = nodes.constant("low", np.uint8(_LOW))
    return nodes.op("QuantizeLinear", nodes.op("Div", value, largest), step, zero), largest, zero, step
