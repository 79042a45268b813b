"""What a loaded model holds of the file that it came from: arrays, and no protobuf."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx_ir.serde import TensorProtoTensor

from amct_lite import ir

HEADER = """<ir_version: 8, opset_import: ["" : 17]>
net (float[2] x) => (float[2] y) <float[2] w = {1, 2}> {
  c = Constant <value = float[2] {3, 4}> ()  z = Add (x, w)  y = Add (z, c)
}"""


def proto_with(change) -> onnx.ModelProto:
    proto = onnx.ModelProto.FromString(ir.to_bytes(ir.from_text(HEADER)))
    tensor = proto.graph.initializer[0]
    tensor.CopyFrom(onnx.numpy_helper.from_array(np.array([1, 2], np.float32), "w"))
    change(tensor)
    return proto


def as_raw(tensor: onnx.TensorProto) -> None:
    tensor.doc_string = "a weight"


def as_typed(tensor: onnx.TensorProto) -> None:
    tensor.ClearField("raw_data")
    tensor.float_data.extend([1, 2])


def with_location(tensor: onnx.TensorProto) -> None:
    tensor.data_location = onnx.TensorProto.DEFAULT


def with_metadata(tensor: onnx.TensorProto) -> None:
    tensor.metadata_props.add(key="made", value="by hand")


@pytest.mark.parametrize("change", [as_raw, as_typed, with_location, with_metadata])
def test_a_tensor_is_written_as_it_was_read(change):
    proto = proto_with(change)
    assert ir.to_bytes(ir.load_bytes(proto.SerializeToString())) == proto.SerializeToString(deterministic=True)


def test_a_weight_is_read_in_place():
    weight = ir.load_bytes(proto_with(as_raw).SerializeToString()).graph.initializers["w"].const_value
    assert weight.numpy() is weight.numpy()


@pytest.mark.parametrize("change", [as_raw, as_typed])
def test_no_tensor_keeps_the_protobuf_of_the_whole_model(change):
    """A part of a protobuf keeps all of it: the weights would be in memory twice."""
    model = ir.load_bytes(proto_with(change).SerializeToString())
    tensors = [value.const_value for value in model.graph.initializers.values()]
    tensors += [node.attributes["value"].value for node in model.graph if node.op_type == "Constant"]
    assert len(tensors) == 2
    for tensor in tensors:
        if isinstance(tensor, TensorProtoTensor):
            assert not tensor.raw.HasField("raw_data")
