"""From a vector for each token to one for each text, as sentence-transformers pools (https://arxiv.org/abs/1908.10084)."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from sophia.inference.onnx_nodes import Nodes
from sophia.inference.sentence_model import PoolingMode

_LOWEST = np.float32(-1e9)


def pool(nodes: Nodes, hidden: str, mode: PoolingMode, *, normalize: bool) -> None:
    """Ends the graph: ``hidden`` (texts, tokens, dimensions) to ``embedding``. Padding counts for nothing."""
    pooled = _POOLINGS[mode](nodes, hidden)
    if normalize:
        length = nodes.op("ReduceL2", pooled, nodes.integers("axis_1", 1), keepdims=1)
        bounded = nodes.op("Max", length, nodes.constant("tiny_length", np.float32(1e-12)))
        nodes.op("Div", pooled, bounded, output="embedding")
    else:
        nodes.op("Identity", pooled, output="embedding")


def _mask(nodes: Nodes) -> str:
    mask = nodes.op("Cast", "attention_mask", to=TensorProto.FLOAT)
    return nodes.op("Unsqueeze", mask, nodes.integers("axis_2", 2))


def _mean(nodes: Nodes, hidden: str) -> str:
    mask = _mask(nodes)
    tokens = nodes.integers("axis_1", 1)
    total = nodes.op("ReduceSum", nodes.op("Mul", hidden, mask), tokens, keepdims=0)
    count = nodes.op("ReduceSum", mask, tokens, keepdims=0)
    return nodes.op("Div", total, nodes.op("Max", count, nodes.constant("tiny_count", np.float32(1e-9))))


def _first(nodes: Nodes, hidden: str) -> str:
    return nodes.op("Gather", hidden, nodes.constant("first", np.int64(0)), axis=1)


def _max(nodes: Nodes, hidden: str) -> str:
    kept = nodes.op("Cast", _mask(nodes), to=TensorProto.BOOL)
    seen = nodes.op("Where", kept, hidden, nodes.constant("lowest", _LOWEST))
    return nodes.op("ReduceMax", seen, nodes.integers("axis_1", 1), keepdims=0)


def _last(nodes: Nodes, hidden: str) -> str:
    count = nodes.op("ReduceSum", "attention_mask", nodes.integers("axis_1", 1), keepdims=1)
    place = nodes.op("Sub", count, nodes.integers("one_token", 1))
    return nodes.op("GatherND", hidden, place, batch_dims=1)


_POOLINGS = {
    PoolingMode.MEAN: _mean,
    PoolingMode.CLS: _first,
    PoolingMode.MAX: _max,
    PoolingMode.LAST: _last,
}
