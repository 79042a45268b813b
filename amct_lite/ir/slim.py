"""A protobuf of a model without its large weights, for the parts of onnx that only know protobufs.

onnx's shape inference copies the whole model, and takes at most 2 GiB. Large initializers become inputs of the same
type and shape; small ones stay, since shapes and axes are read from their values.
"""

from __future__ import annotations

import onnx
import onnx_ir
from onnx_ir import Model, Value

SMALL = 1024
"""Bytes up to which an initializer keeps its value."""


def slim_proto(model: Model) -> onnx.ModelProto:
    """`model`, which stays as it is, without the values of the large initializers of its main graph."""
    initializers = model.graph.initializers
    everything = dict(initializers)
    large = [value for value in everything.values() if value.const_value is None or value.const_value.nbytes > SMALL]
    try:
        for value in large:
            del initializers[str(value.name)]
        proto: onnx.ModelProto = onnx_ir.to_proto(model)
    finally:  # all of them, so that their order stays
        initializers.clear()
        initializers.update(everything)
    inputs = {entry.name for entry in proto.graph.input}
    proto.graph.input.extend(_entry(value) for value in large if value.name not in inputs)
    return proto


def _entry(value: Value) -> onnx.ValueInfoProto:
    tensor = value.const_value
    if tensor is None:
        raise ValueError(f"initializer {value.name!r} has no value")
    return onnx.helper.make_tensor_value_info(str(value.name), int(tensor.dtype), list(tensor.shape.numpy()))
