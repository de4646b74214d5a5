"""The ONNX graph of a BERT sentence encoder, built from its published safetensors.

Input ``input_ids`` and ``attention_mask``, int64, (texts, tokens); output ``embedding``, float32, (texts, dimensions):
the mean of the last layer over the tokens that the mask keeps, at length 1. Only standard operators, float32 weights.
The architecture is BERT's (https://arxiv.org/abs/1810.04805, with post-layer normalisation), the pooling that of
sentence-transformers (https://arxiv.org/abs/1908.10084).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from sophia.nouns.errors import ConfigError

BUILDER_VERSION = 1
"""Raised with every change of the graph, so that graphs built earlier are not taken for current ones."""

_OPSET = 20  # the first with Gelu
_IR_VERSION = 10

# Added to the scores of padding: its softmax is exactly 0 in float32.
_MASKED = np.float32(-1e9)

Weights = Mapping[str, np.ndarray[Any, np.dtype[np.float32]]]


class BertConfig(msgspec.Struct, frozen=True):
    """What is needed of the model's ``config.json``."""

    hidden_size: int
    num_attention_heads: int
    num_hidden_layers: int
    layer_norm_eps: float
    hidden_act: str
    model_type: str


def build_graph(config: BertConfig, weights: Weights) -> onnx.ModelProto:
    """Raises ``ConfigError`` for a model that is not the BERT this builds."""
    if config.model_type != "bert" or config.hidden_act != "gelu":
        raise ConfigError(f"cannot build a graph for {config.model_type} with activation {config.hidden_act}")
    try:
        return _Builder(config, weights).model()
    except KeyError as error:
        raise ConfigError(f"the model's weights lack {error}") from error


class _Builder:
    """Nodes and constants in order of use; values are referred to by their names."""

    def __init__(self, config: BertConfig, weights: Weights) -> None:
        self._config = config
        self._weights = weights
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}

    def model(self) -> onnx.ModelProto:
        hidden = self._embed()
        bias = self._attention_bias()
        for number in range(self._config.num_hidden_layers):
            hidden = self._layer(f"encoder.layer.{number}", hidden, bias)
        self._pool(hidden)
        tokens = ["texts", "tokens"]
        graph = helper.make_graph(
            self._nodes,
            "sentence_encoder",
            inputs=[
                helper.make_tensor_value_info("input_ids", TensorProto.INT64, tokens),
                helper.make_tensor_value_info("attention_mask", TensorProto.INT64, tokens),
            ],
            outputs=[
                helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["texts", self._config.hidden_size])
            ],
            initializer=list(self._constants.values()),
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)

    def _embed(self) -> str:
        words = self._op("Gather", self._weight("embeddings.word_embeddings.weight"), "input_ids")
        # Every token is of type 0, so that its embedding can be added to the positions beforehand.
        positions = self._constant(
            "positions",
            self._weights["embeddings.position_embeddings.weight"]
            + self._weights["embeddings.token_type_embeddings.weight"][0],
        )
        length = self._op("Shape", "input_ids", start=1, end=2)
        first = self._op("Slice", positions, self._integers("zero", 0), length, self._integers("axis_0", 0))
        return self._normalised("embeddings.LayerNorm", self._op("Add", words, first))

    def _attention_bias(self) -> str:
        """(texts, 1, 1, tokens): 0 where a token is, very negative where padding is."""
        mask = self._op("Cast", "attention_mask", to=TensorProto.FLOAT)
        padding = self._op("Sub", self._constant("one", np.float32(1)), mask)
        bias = self._op("Mul", padding, self._constant("masked", _MASKED))
        return self._op("Unsqueeze", bias, self._integers("axes_1_2", 1, 2))

    def _layer(self, name: str, hidden: str, bias: str) -> str:
        attended = self._dense(
            f"{name}.attention.output.dense", self._attention(f"{name}.attention.self", hidden, bias)
        )
        hidden = self._normalised(f"{name}.attention.output.LayerNorm", self._op("Add", attended, hidden))
        inner = self._op("Gelu", self._dense(f"{name}.intermediate.dense", hidden))
        outer = self._dense(f"{name}.output.dense", inner)
        return self._normalised(f"{name}.output.LayerNorm", self._op("Add", outer, hidden))

    def _attention(self, name: str, hidden: str, bias: str) -> str:
        heads = self._config.num_attention_heads
        size = self._config.hidden_size // heads
        split = self._integers("split_heads", 0, 0, heads, size)
        query, key, value = (
            self._op("Reshape", self._dense(f"{name}.{part}", hidden), split) for part in ("query", "key", "value")
        )
        scores = self._op(
            "MatMul", self._op("Transpose", query, perm=[0, 2, 1, 3]), self._op("Transpose", key, perm=[0, 2, 3, 1])
        )
        scaled = self._op("Mul", scores, self._constant("scale", np.float32(1 / math.sqrt(size))))
        shares = self._op("Softmax", self._op("Add", scaled, bias), axis=-1)
        mixed = self._op("MatMul", shares, self._op("Transpose", value, perm=[0, 2, 1, 3]))
        together = self._op("Transpose", mixed, perm=[0, 2, 1, 3])
        return self._op("Reshape", together, self._integers("join_heads", 0, 0, self._config.hidden_size))

    def _pool(self, hidden: str) -> None:
        last = self._integers("axis_2", 2)
        mask = self._op("Unsqueeze", self._op("Cast", "attention_mask", to=TensorProto.FLOAT), last)
        tokens = self._integers("axis_1", 1)
        total = self._op("ReduceSum", self._op("Mul", hidden, mask), tokens, keepdims=0)
        count = self._op("ReduceSum", mask, tokens, keepdims=0)
        mean = self._op("Div", total, self._op("Max", count, self._constant("tiny_count", np.float32(1e-9))))
        length = self._op("ReduceL2", mean, tokens, keepdims=1)
        bounded = self._op("Max", length, self._constant("tiny_length", np.float32(1e-12)))
        self._op("Div", mean, bounded, output="embedding")

    def _dense(self, name: str, value: str) -> str:
        # PyTorch keeps (outputs, inputs).
        kernel = self._constant(f"{name}.kernel", np.ascontiguousarray(self._weights[f"{name}.weight"].T))
        return self._op("Add", self._op("MatMul", value, kernel), self._weight(f"{name}.bias"))

    def _normalised(self, name: str, value: str) -> str:
        return self._op(
            "LayerNormalization",
            value,
            self._weight(f"{name}.weight"),
            self._weight(f"{name}.bias"),
            axis=-1,
            epsilon=self._config.layer_norm_eps,
        )

    def _weight(self, name: str) -> str:
        return self._constant(name, self._weights[name])

    def _integers(self, name: str, *values: int) -> str:
        return self._constant(name, np.array(values, dtype=np.int64))

    def _constant(self, name: str, value: Any) -> str:
        if name not in self._constants:
            self._constants[name] = numpy_helper.from_array(np.asarray(value), name)
        return name

    def _op(self, kind: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        result = output or f"{kind}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [result], **attributes))
        return result
