"""Which inputs and outputs of an operator can be float16, from onnx's own schemas."""

from __future__ import annotations

from dataclasses import dataclass

import onnx
from onnx_ir import Node

_HALF = "tensor(float16)"


@dataclass(frozen=True)
class Signature:
    """Whether each formal input can be float16, and each output because an input is (what a Cast or a random generator gives,
    an attribute says); the last input and output stand for all further ones."""

    inputs: tuple[bool, ...]
    outputs: tuple[bool, ...]

    def takes_half(self, index: int) -> bool:
        return bool(self.inputs) and self.inputs[min(index, len(self.inputs) - 1)]

    def gives_half(self, index: int) -> bool:
        return bool(self.outputs) and self.outputs[min(index, len(self.outputs) - 1)]


def signature(node: Node, version: int) -> Signature | None:
    """Of `node` in opset `version`; None for an operator that ONNX does not define there."""
    if node.domain:
        return None
    try:
        schema = onnx.defs.get_schema(node.op_type, version, "")
    except onnx.defs.SchemaError:
        return None
    half = {t.type_param_str for t in schema.type_constraints if _HALF in t.allowed_type_strs}
    tied = half & {i.type_str for i in schema.inputs}
    return Signature(tuple(i.type_str in half for i in schema.inputs), tuple(o.type_str in tied for o in schema.outputs))
