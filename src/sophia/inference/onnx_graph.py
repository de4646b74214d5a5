"""The ONNX graph of a BERT-like sentence encoder, built from its published safetensors.

Input ``input_ids`` and ``attention_mask``, int64, (texts, tokens); output ``embedding``, float32, (texts, dimensions).
The architecture is BERT's (https://arxiv.org/abs/1810.04805, with post-layer normalisation), and RoBERTa's, whose positions
begin later. With ``int8`` the feed-forward layers, two thirds of the work, are 8-bit integers; attention stays float:
it is there that little precision costs much (see ``docs/embedder.md`` for figures).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from sophia.inference.onnx_int8 import dense_int8
from sophia.inference.onnx_nodes import Nodes
from sophia.inference.onnx_pooling import pool
from sophia.inference.sentence_model import SPARE_POSITIONS, EncoderConfig, SentenceModel
from sophia.nouns.errors import ConfigError

BUILDER_VERSION = 2
"""Raised with every change of the graph, so that graphs built earlier are not taken for current ones."""

# Added to the scores of padding: its softmax is exactly 0 in float32.
_MASKED = np.float32(-1e9)

Weights = Mapping[str, np.ndarray[Any, np.dtype[np.float32]]]


def build_graph(model: SentenceModel, weights: Weights, *, int8: bool = False) -> onnx.ModelProto:
    """Raises ``ConfigError`` for a model that is none of those this builds."""
    config = model.config
    if config.model_type not in ("bert", *SPARE_POSITIONS) or config.hidden_act != "gelu":
        raise ConfigError(f"cannot build a graph for {config.model_type} with activation {config.hidden_act}")
    try:
        return _Encoder(model, _plain(weights), int8=int8).model()
    except KeyError as error:
        raise ConfigError(f"the model's weights lack {error}") from error


def _plain(weights: Weights) -> Weights:
    """In float32, and without the prefix that models with a head put before the encoder's names."""
    names = {name.removeprefix("bert.").removeprefix("roberta."): value for name, value in weights.items()}
    return {name: value.astype(np.float32, copy=False) for name, value in names.items()}


class _Encoder:
    def __init__(self, model: SentenceModel, weights: Weights, *, int8: bool) -> None:
        self._model = model
        self._config: EncoderConfig = model.config
        self._weights = weights
        self._int8 = int8
        self._nodes = Nodes()

    def model(self) -> onnx.ModelProto:
        hidden = self._embed()
        bias = self._attention_bias()
        for number in range(self._config.num_hidden_layers):
            hidden = self._layer(f"encoder.layer.{number}", hidden, bias)
        pool(self._nodes, hidden, self._model.pooling, normalize=self._model.normalize)
        return self._nodes.model("sentence_encoder", self._config.hidden_size)

    def _embed(self) -> str:
        nodes = self._nodes
        words = nodes.op("Gather", self._weight("embeddings.word_embeddings.weight"), "input_ids")
        # Every token is of type 0, so that its embedding can be added to the positions beforehand.
        positions = nodes.constant(
            "positions",
            self._weights["embeddings.position_embeddings.weight"][self._config.first_position :]
            + self._weights["embeddings.token_type_embeddings.weight"][0],
        )
        length = nodes.op("Shape", "input_ids", start=1, end=2)
        first = nodes.op("Slice", positions, nodes.integers("zero", 0), length, nodes.integers("axis_0", 0))
        return self._normalised("embeddings.LayerNorm", nodes.op("Add", words, first))

    def _attention_bias(self) -> str:
        """(texts, 1, 1, tokens): 0 where a token is, very negative where padding is."""
        nodes = self._nodes
        mask = nodes.op("Cast", "attention_mask", to=TensorProto.FLOAT)
        padding = nodes.op("Sub", nodes.constant("one", np.float32(1)), mask)
        bias = nodes.op("Mul", padding, nodes.constant("masked", _MASKED))
        return nodes.op("Unsqueeze", bias, nodes.integers("axes_1_2", 1, 2))

    def _layer(self, name: str, hidden: str, bias: str) -> str:
        nodes = self._nodes
        attended = self._dense(
            f"{name}.attention.output.dense", self._attention(f"{name}.attention.self", hidden, bias)
        )
        hidden = self._normalised(f"{name}.attention.output.LayerNorm", nodes.op("Add", attended, hidden))
        inner = nodes.op("Gelu", self._feed(f"{name}.intermediate.dense", hidden, after_gelu=False))
        outer = self._feed(f"{name}.output.dense", inner, after_gelu=True)
        return self._normalised(f"{name}.output.LayerNorm", nodes.op("Add", outer, hidden))

    def _attention(self, name: str, hidden: str, bias: str) -> str:
        nodes = self._nodes
        heads = self._config.num_attention_heads
        size = self._config.hidden_size // heads
        split = nodes.integers("split_heads", 0, 0, heads, size)
        query, key, value = (
            nodes.op("Reshape", self._dense(f"{name}.{part}", hidden), split) for part in ("query", "key", "value")
        )
        scores = nodes.op(
            "MatMul",
            nodes.op("Transpose", query, perm=[0, 2, 1, 3]),
            nodes.op("Transpose", key, perm=[0, 2, 3, 1]),
        )
        scaled = nodes.op("Mul", scores, nodes.constant("scale", np.float32(1 / math.sqrt(size))))
        shares = nodes.op("Softmax", nodes.op("Add", scaled, bias), axis=-1)
        mixed = nodes.op("MatMul", shares, nodes.op("Transpose", value, perm=[0, 2, 1, 3]))
        together = nodes.op("Transpose", mixed, perm=[0, 2, 1, 3])
        return nodes.op("Reshape", together, nodes.integers("join_heads", 0, 0, self._config.hidden_size))

    def _feed(self, name: str, value: str, *, after_gelu: bool) -> str:
        if not self._int8:
            return self._dense(name, value)
        weight, bias = self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
        return dense_int8(self._nodes, name, value, weight, bias, after_gelu=after_gelu)

    def _dense(self, name: str, value: str) -> str:
        # PyTorch keeps (outputs, inputs).
        kernel = self._nodes.constant(f"{name}.kernel", np.ascontiguousarray(self._weights[f"{name}.weight"].T))
        return self._nodes.op("Add", self._nodes.op("MatMul", value, kernel), self._weight(f"{name}.bias"))

    def _normalised(self, name: str, value: str) -> str:
        return self._nodes.op(
            "LayerNormalization",
            value,
            self._weight(f"{name}.weight"),
            self._weight(f"{name}.bias"),
            axis=-1,
            epsilon=self._config.layer_norm_eps,
        )

    def _weight(self, name: str) -> str:
        return self._nodes.constant(name, self._weights[name])
