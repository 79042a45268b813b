"""Whole deploy graphs, node by node as ATC reads them: the contract's section 10, written out for each kind of layer.

A line is `type name(inputs) -> outputs`, then attributes and the constants with their types and shapes.
"""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from layer_cases import named
from onnx import numpy_helper
from passes.graphs import parse

from amct_lite import ir
from amct_lite.exporters import ascend
from amct_lite.loading import load_prepared
from amct_lite.types import LayerRecord, QParams, QuantRecord

OPSET = '<ir_version: 8, opset_import: ["": 13]>'
CHANNELS = {"Conv": (0.5, 0.25, 0.125, 0.5), "ConvTranspose": (0.5, 0.25, 0.125, 0.5)}
QUANT = "{scale: 4.0, offset: -3.0, dst_type: b'INT8'}"  # 1 / scale_d, with scale_d = 0.25

CASES = {
    "conv": (
        "g (float[1,2,5,5] x, float[4,2,3,3] w, float[4] b) => (float[1,4,3,3] y) { h = Conv (x, w, b) y = Relu (h) }",
        [
            f"AscendQuant Conv_0.quant(x) -> Conv_0.quant.output0 {QUANT}",
            "Conv Conv_0(Conv_0.quant.output0, int8[4,2,3,3], int32[4]) -> h {}",
            "AscendDequant Conv_0.dequant(h, uint64[4]) -> Conv_0.dequant.output0 {dtype: 0}",
            "Relu Relu_1(Conv_0.dequant.output0) -> y {}",
        ],
    ),
    "grouped conv": (
        "g (float[1,4,5,5] x, float[4,2,3,3] w) => (float[1,4,3,3] y) { h = Conv<group=2> (x, w) y = Relu (h) }",
        [
            f"AscendQuant Conv_0.quant(x) -> Conv_0.quant.output0 {QUANT}",
            "Conv Conv_0(Conv_0.quant.output0, int8[4,2,3,3]) -> h {group: 2}",
            "AscendDequant Conv_0.dequant(h, uint64[4]) -> Conv_0.dequant.output0 {dtype: 0}",
            "Relu Relu_1(Conv_0.dequant.output0) -> y {}",
        ],
    ),
    "transposed conv": (
        """g (float[1,2,5,5] x, float[2,4,3,3] w, float[4] b) => (float[1,4,7,7] y) {
           h = ConvTranspose (x, w, b) y = Relu (h) }""",
        [
            f"AscendQuant ConvTranspose_0.quant(x) -> ConvTranspose_0.quant.output0 {QUANT}",
            "ConvTranspose ConvTranspose_0(ConvTranspose_0.quant.output0, int8[2,4,3,3], int32[4]) -> h {}",
            "AscendDequant ConvTranspose_0.dequant(h, uint64[4]) -> ConvTranspose_0.dequant.output0 {dtype: 0}",
            "Relu Relu_1(ConvTranspose_0.dequant.output0) -> y {}",
        ],
    ),
    "gemm with transB, transposed offline": (
        "g (float[3,6] x, float[4,6] w, float[4] b) => (float[3,4] y) { h = Gemm<transB=1> (x, w, b) y = Relu (h) }",
        [
            f"AscendQuant Gemm_0.quant(x) -> Gemm_0.quant.output0 {QUANT}",
            "Gemm Gemm_0(Gemm_0.quant.output0, int8[6,4], int32[4]) -> h {transB: 0, alpha: 1.0}",
            "AscendDequant Gemm_0.dequant(h, uint64[1]) -> Gemm_0.dequant.output0 {dtype: 0}",
            "Relu Relu_1(Gemm_0.dequant.output0) -> y {}",
        ],
    ),
    "matmul with its bias": (
        "g (float[3,6] x, float[6,4] w, float[4] b) => (float[3,4] y) { h = MatMul (x, w) i = Add (b, h) y = Relu (i) }",
        [
            f"AscendQuant MatMul_0.quant(x) -> MatMul_0.quant.output0 {QUANT}",
            "MatMul MatMul_0(MatMul_0.quant.output0, int8[6,4]) -> h {}",
            "Add Add_1(h, int32[4]) -> i {}",
            "AscendDequant MatMul_0.dequant(i, uint64[1]) -> MatMul_0.dequant.output0 {dtype: 0}",
            "Relu Relu_2(MatMul_0.dequant.output0) -> y {}",
        ],
    ),
    "average pool": (
        "g (float[1,4,6,6] x) => (float[1,4,3,3] y) { h = AveragePool<kernel_shape=[2,2], strides=[2,2]> (x) y = Relu (h) }",
        [
            f"AscendQuant AveragePool_0.quant(x) -> AveragePool_0.quant.output0 {QUANT}",
            "AveragePool AveragePool_0(AveragePool_0.quant.output0) -> h {kernel_shape: [2, 2], strides: [2, 2]}",
            "AscendDequant AveragePool_0.dequant(h, uint64[1]) -> AveragePool_0.dequant.output0 {dtype: 0}",
            "Relu Relu_1(AveragePool_0.dequant.output0) -> y {}",
        ],
    ),
    "a layer whose output is an output of the model": (
        "g (float[1,2,5,5] x, float[4,2,3,3] w) => (float[1,4,3,3] y) { y = Conv (x, w) }",
        [
            f"AscendQuant Conv_0.quant(x) -> Conv_0.quant.output0 {QUANT}",
            "Conv Conv_0(Conv_0.quant.output0, int8[4,2,3,3]) -> Conv_0_output0 {}",
            "AscendDequant Conv_0.dequant(Conv_0_output0, uint64[4]) -> y {dtype: 0}",
        ],
    ),
}


def record_for(model: ir.Model) -> QuantRecord:
    (layer,) = (node for node in model.graph if node.op_type not in {"Relu", "Add"})
    weight = QParams.of(np.array(CHANNELS.get(layer.op_type, 0.5)), 0) if len(layer.inputs) > 1 else None
    return QuantRecord((LayerRecord(str(layer.name), QParams.of(0.25, -3), weight),))


def lines(model: onnx.ModelProto) -> list[str]:
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    text = []
    for node in model.graph.node:
        read = (f"{c.dtype}[{','.join(map(str, c.shape))}]" if (c := constants.get(n)) is not None else n for n in node.input)
        attributes = (f"{a.name}: {onnx.helper.get_attribute_value(a)}" for a in node.attribute)
        assert node.domain == ""
        text.append(f"{node.op_type} {node.name}({', '.join(read)}) -> {', '.join(node.output)} {{{', '.join(attributes)}}}")
    return text


def deployed(text: str) -> tuple[onnx.ModelProto, QuantRecord]:
    constants = [name for name in ("w", "b") if f"] {name}" in text]
    prepared = load_prepared(named(parse(text, " ".join(constants), OPSET))).prepared
    record = record_for(prepared)
    return onnx.load_from_string(ir.to_bytes(ascend.export(prepared, record))), record


@pytest.mark.parametrize("case", CASES)
def test_deploy_graph_is_the_one_written_down(case: str) -> None:
    text, expected = CASES[case]
    assert lines(deployed(text)[0]) == expected


@pytest.mark.parametrize("case", CASES)
def test_dequant_parameter_is_the_product_of_both_scales(case: str) -> None:
    """Low 32 bits: float32(scale_w) · float32(scale_d); the fields above (shift_n, offset_w) are 0."""
    model, record = deployed(CASES[case][0])
    (layer,) = record.layers
    (param,) = (tensor for tensor in model.graph.initializer if tensor.name == f"{layer.key}.dequant.param")
    scales = (layer.weight.scales if layer.weight else np.ones(1, np.float32)) * np.float32(0.25)
    assert numpy_helper.to_array(param).tolist() == scales.view(np.uint32).tolist()
