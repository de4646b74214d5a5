"""Nodes and constants of an ONNX graph in order of use; values are referred to by their names."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_OPSET = 20  # the first with Gelu
_IR_VERSION = 10
_MICROSOFT = "com.microsoft"


class Nodes:
    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}

    def model(self, name: str, dimensions: int) -> onnx.ModelProto:
        """Inputs ``input_ids`` and ``attention_mask``, output ``embedding``."""
        tokens = ["texts", "tokens"]
        graph = helper.make_graph(
            self._nodes,
            name,
            inputs=[
                helper.make_tensor_value_info("input_ids", TensorProto.INT64, tokens),
                helper.make_tensor_value_info("attention_mask", TensorProto.INT64, tokens),
            ],
            outputs=[helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["texts", dimensions])],
            initializer=list(self._constants.values()),
        )
        opsets = [helper.make_opsetid("", _OPSET)]
        if any(node.domain == _MICROSOFT for node in self._nodes):
            opsets.append(helper.make_opsetid(_MICROSOFT, 1))
        return helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)

    def integers(self, name: str, *values: int) -> str:
        return self.constant(name, np.array(values, dtype=np.int64))

    def constant(self, name: str, value: Any) -> str:
        if name not in self._constants:
            self._constants[name] = numpy_helper.from_array(np.asarray(value), name)
        return name

    def op(self, kind: str, *inputs: str, output: str | None = None, domain: str = "", **attributes: Any) -> str:
        result = output or f"{kind}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [result], domain=domain, **attributes))
        return result

    def microsoft(self, kind: str, *inputs: str) -> str:
        """An operator of ONNX Runtime's own."""
        return self.op(kind, *inputs, domain=_MICROSOFT)
