"""Quantized constants become the floats they stand for, and their codes are kept as narrow as they are."""

import mmap

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from amct_lite import ir
from amct_lite.qat import dequantize_constants
from amct_lite.qat.constants import Coded

SCALE, ZERO_POINT = np.float32(0.5), 3


def weight_of(*nodes: onnx.NodeProto, dtype: int, constant: onnx.TensorProto) -> tuple[Coded, ir.Value | None]:
    """What is kept of, and read in place of, the tensor `w` that `nodes` make of `constant` with codes of `dtype`."""
    scale, zero_point = numpy_helper.from_array(np.array(SCALE), "s"), helper.make_tensor("z", dtype, [], [ZERO_POINT])
    columns = constant.dims[1]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, constant.dims[0]])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, columns])]
    product = helper.make_node("MatMul", ["x", "w"], ["y"], name="mm")
    graph = helper.make_graph([*nodes, product], "net", inputs, outputs, [constant, scale, zero_point])
    model = ir.load_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)]).SerializeToString())
    ((reader, coded),) = dequantize_constants(model).items()
    assert reader == ("mm", 1)
    return coded, next(node for node in model.graph if node.name == "mm").inputs[1]


DEQUANTIZE = helper.make_node("DequantizeLinear", ["c", "s", "z"], ["w"], name="dq")
FAKE_QUANT = (
    helper.make_node("QuantizeLinear", ["f", "s", "z"], ["c"], name="q"),
    DEQUANTIZE,
)


@pytest.mark.parametrize(
    ("name", "kept"),
    [("INT8", "int8"), ("UINT8", "uint8"), ("INT16", "int16"), ("INT32", "int32"), ("INT4", "int8"), ("UINT4", "int8")],
)
def test_codes_take_the_bytes_that_they_need(name: str, kept: str) -> None:
    dtype = getattr(TensorProto, name)
    coded, constant = weight_of(DEQUANTIZE, dtype=dtype, constant=helper.make_tensor("c", dtype, [2, 3], [0, 1, 2, 3, 4, 7]))
    assert coded.codes.dtype == kept
    assert coded.signed_codes.tolist() == [[-3, -2, -1], [0, 1, 4]]
    np.testing.assert_array_equal(ir.constant_of(constant), [[-1.5, -1, -0.5], [0, 0.5, 2]])


@pytest.mark.parametrize(("name", "kept"), [("INT8", "int8"), ("UINT8", "uint8"), ("INT16", "int16"), ("UINT4", "uint8")])
def test_floats_that_are_rounded_are_kept_as_such_codes(name: str, kept: str) -> None:
    floats = numpy_helper.from_array(np.array([[-0.6, 0.2], [1.3, 1e6]], np.float32), "f")
    coded, _ = weight_of(*FAKE_QUANT, dtype=getattr(TensorProto, name), constant=floats)
    assert coded.codes.dtype == kept
    most = {"INT8": 127, "UINT8": 255, "INT16": 32767, "UINT4": 15}[name]
    assert coded.codes.tolist() == [[2, 3], [6, most]]


def test_many_codes_lie_in_a_file() -> None:
    floats = numpy_helper.from_array(np.ones((1 << 10, 1 << 10), np.float32), "f")
    coded, _ = weight_of(*FAKE_QUANT, dtype=TensorProto.INT8, constant=floats)
    owner = coded.codes
    while isinstance(owner, np.ndarray):
        owner = owner.base
    assert isinstance(owner.obj if isinstance(owner, memoryview) else owner, mmap.mmap)
    assert (coded.codes == 5).all()
