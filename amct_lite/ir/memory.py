"""Weights in memory are held once, as arrays that everybody reads in place.

A tensor of a protobuf copies itself out of it each time somebody asks for its values, and keeps the whole protobuf alive.
"""

from __future__ import annotations

import onnx
from onnx_ir import Attr, AttributeType, Model, Tensor, TensorProtocol
from onnx_ir.serde import TensorProtoTensor

from amct_lite.ir.bodies import every_graph


def detach(model: Model) -> None:
    """Let no tensor of `model`, which was just read, depend on the protobuf that it was read from; in place."""
    for graph in every_graph(model):
        for value in graph.initializers.values():
            if isinstance(value.const_value, TensorProtoTensor):
                value.const_value = _detached(value.const_value)
        for node in graph:
            for name, found in tuple(node.attributes.items()):
                if found.type == AttributeType.TENSOR and isinstance(found.value, TensorProtoTensor):
                    node.attributes[name] = Attr(name, found.type, _detached(found.value), doc_string=found.doc_string)


def _detached(tensor: TensorProtoTensor) -> TensorProtocol:
    """One that is written as `tensor` is."""
    proto = tensor.raw
    plain = not any(map(proto.HasField, ("segment", "data_location")))  # of which an array knows nothing
    if proto.HasField("raw_data") and plain and tensor.dtype.bitwidth >= 8:
        array, metadata = tensor.numpy(), dict(tensor.metadata_props)
        return Tensor(array, tensor.dtype, name=tensor.name, doc_string=tensor.doc_string, metadata_props=metadata)
    own = onnx.TensorProto()
    own.CopyFrom(proto)
    return TensorProtoTensor(own)
