"""Weights in files: they are what they were in memory, for whoever reads or writes them."""

import numpy as np
import onnx
import pytest

from amct_lite import ir
from amct_lite.ir import stored, writing

HEADER = """<ir_version: 8, opset_import: ["" : 17]> net (float[N, 4] x) => (float[N, 8] y) { y = MatMul (x, x) }"""


@pytest.fixture
def everything_is_large(monkeypatch):
    for module in (stored, writing):
        monkeypatch.setattr(module, "LARGE", 8)


def product(weight):
    model = ir.from_text(HEADER)
    ir.replace_input(model.graph[0], 1, ir.add_initializer(model.graph, "w", weight))
    return model


def test_what_is_written_piece_by_piece_is_what_protobuf_writes(tmp_path, everything_is_large):
    """Fields on both sides of each weight, lengths of one to four bytes, and a subgraph, which is written as a whole."""
    text = HEADER.replace("(float[N, 4] x)", "(float[N, 4] x, bool c)").replace(
        "y = MatMul (x, x)",
        """z = MatMul (x, x)
        y = If (c) <then_branch = a () => (float t) { t = Identity (z) }, else_branch = b () => (float e) { e = Relu (z) }>""",
    )
    model = ir.from_text(text)
    model.doc_string, model.producer_name, model.graph.doc_string = "of the model", "somebody", "of the graph"
    model.metadata_props["key"] = "value"
    for index, count in enumerate((3, 100, 40_000, 1 << 21)):
        ir.add_initializer(model.graph, f"w{index}", np.arange(count, dtype=np.int8))
        ir.add_initializer(model.graph, f"small{index}", np.array(index))
    ir.save(model, tmp_path / "model.onnx")
    written = (tmp_path / "model.onnx").read_bytes()
    assert written == ir.to_bytes(model)
    assert written == onnx.ModelProto.FromString(written).SerializeToString(deterministic=True)
    back = ir.load(tmp_path / "model.onnx").model
    assert ir.checksum(back) == ir.checksum(model)
    assert (back.doc_string, back.graph.doc_string, back.metadata_props) == ("of the model", "of the graph", {"key": "value"})


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int8, np.int64, np.bool_])
def test_bytes_and_checksum_do_not_tell_where_a_weight_lies(dtype, monkeypatch):
    weight = (np.arange(32).reshape(8, 4).T % 3).astype(dtype)  # transposed: not in the order of a file
    in_memory = product(weight)
    for module in (stored, writing):
        monkeypatch.setattr(module, "LARGE", 8)
    in_file = product(weight)
    assert isinstance(in_file.graph.initializers["w"].const_value, ir.ExternalTensor)
    assert ir.to_bytes(in_file) == ir.to_bytes(in_memory)
    assert ir.checksum(in_file) == ir.checksum(in_memory)
    np.testing.assert_array_equal(ir.constant_of(in_file.graph.initializers["w"]), weight)


def test_half_bytes_stay_in_memory(everything_is_large):
    assert not isinstance(ir.tensor_of(np.arange(-8, 8).reshape(4, 4), ir.DataType.INT4), ir.ExternalTensor)


def test_weights_of_two_files_are_attached(tmp_path, everything_is_large):
    first, second = np.ones((4, 4), np.float32), np.full((4, 8), 2, np.float32)
    model = ir.from_text(HEADER.replace("y = MatMul (x, x)", "z = MatMul (x, x) y = MatMul (z, z)"))
    for node, weight in zip(tuple(model.graph), (first, second), strict=True):
        ir.replace_input(node, 1, ir.add_initializer(model.graph, "w", weight))
    attached = ir.attached(model)
    proto = onnx.ModelProto.FromString(attached.graph)
    for tensor in proto.graph.initializer:
        onnx.external_data_helper.load_external_data_for_tensor(tensor, attached.folder)
    found = [onnx.numpy_helper.to_array(tensor) for tensor in proto.graph.initializer]
    np.testing.assert_array_equal(found[0], first)
    np.testing.assert_array_equal(found[1], second)
