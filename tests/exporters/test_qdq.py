"""The fake-quant model: what is quantized once, what is never touched, what the file holds."""

import numpy as np
import onnx
import pytest
from layer_cases import BY_ID, CASES, HEADER, channel_scales, layer_node, named, record_for
from onnx_check import full_check
from passes.graphs import feeds_for, outputs_of, parse

from amct_lite import ir
from amct_lite.errors import ExportError
from amct_lite.exporters import qdq
from amct_lite.passes import prepare
from amct_lite.types import LayerRecord, QParams, QuantRecord

DATA = QParams.of(0.02, 5)


def model_of(text: str, constants: str = "", opset: int = 13, **values: np.ndarray) -> ir.Model:
    return named(parse(text, constants, f'<ir_version: 8, opset_import: ["": {opset}]>', **values))


def record_of(model: ir.Model, **activations: QParams) -> QuantRecord:
    """Per-tensor scales for the nodes named."""
    weights = {node.name: ir.constant_of(node.inputs[1]) for node in model.graph if len(node.inputs) > 1}
    return QuantRecord(
        tuple(
            LayerRecord(name, params, QParams.of(channel_scales(weights[name], 0, 1, False), 0))
            for name, params in activations.items()
        )
    )


def count(model: ir.Model, op_type: str) -> int:
    return sum(node.op_type == op_type for node in model.graph)


def producer(node: ir.Node, index: int) -> str:
    made_by = node.inputs[index].producer()
    return "" if made_by is None else made_by.op_type


def by_name(model: ir.Model, name: str) -> ir.Node:
    return next(node for node in model.graph if node.name == name)


@pytest.mark.parametrize("opset", range(13, onnx.defs.onnx_opset_version() + 1))
@pytest.mark.parametrize("case_id", ["conv2d_group", "deconv_group", "gemm", "matmul_bias", "matmul_two", "pool"])
def test_checker_takes_the_model_at_every_opset(case_id: str, opset: int) -> None:
    case = BY_ID[case_id]
    model = case.model(f'<ir_version: {8 if opset < 21 else 10}, opset_import: ["": {opset}]>\n')
    exported = qdq.export(model, record_for(case, model, feeds_for(model), per_channel=case.per_channel))
    full_check(exported)
    assert ir.opset(exported) == opset


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("case_id", ["gemm", "matmul_bias"])
def test_a_matrix_has_as_many_zero_points_as_scales(case_id: str, per_channel: bool) -> None:
    """ONNX Runtime up to 1.23 makes an integer product of an absent one, too, and refuses to run it with several scales."""
    model = BY_ID[case_id].model()
    exported = qdq.export(model, record_for(BY_ID[case_id], model, feeds_for(model), per_channel=per_channel))
    dequantize = by_name(exported, layer_node(model).name).inputs[1].producer()
    scale, *zeros = (ir.constant_of(value) for value in dequantize.inputs[1:])
    assert [zero.shape for zero in zeros] == ([scale.shape] if per_channel else [])
    assert not any(zero.any() for zero in zeros)


@pytest.mark.parametrize("case", [case for case in CASES if case.weight], ids=lambda case: case.id)
def test_per_channel_axis_is_that_of_the_output_channels(case) -> None:
    model = case.model()
    exported = qdq.export(model, record_for(case, model, feeds_for(model), per_channel=True))
    name = layer_node(model).name
    weight = by_name(exported, f"{name}.weight.dequantizelinear")
    rows = case.axis == 1 and case.group > 1  # a grouped ConvTranspose holds its weight as rows, one a channel
    axis = 0 if rows else min(case.axis, 1)  # a stack of matrices is held as one, with the rows of all of them
    assert ir.attribute(weight, "axis", 1) == axis
    channels = weight.inputs[0].const_value.shape[axis]
    assert weight.inputs[1].const_value.shape == [channels]
    assert weight.inputs[0].dtype == ir.DataType.INT8


def test_weights_are_int8_and_biases_int32_with_the_product_of_the_scales() -> None:
    model = model_of("g (float[1,2,5,5] x, float[3,2,3,3] w, float[3] b) => (float[1,3,3,3] y) { y = Conv (x, w, b) }", "w b")
    record = QuantRecord((LayerRecord("Conv_0", DATA, QParams.of([0.02, 0.03, 0.04], 0)),))
    bias = by_name(qdq.export(model, record), "Conv_0.bias.dequantizelinear")
    assert bias.inputs[0].dtype == ir.DataType.INT32
    np.testing.assert_array_equal(ir.constant_of(bias.inputs[1]), np.float32(0.02) * np.array([0.02, 0.03, 0.04], np.float32))


def test_a_skipped_layer_never_reads_a_dequantized_tensor() -> None:
    model = model_of(
        "g (float[1,2,5,5] x, float[3,2,3,3] w, float[3,2,3,3] w2) => (float[1,3,3,3] y, float[1,3,3,3] z)"
        " { r = Relu (x) y = Conv (r, w) z = Conv (r, w2) }",
        "w w2",
    )
    exported = qdq.export(model, record_of(model, Conv_1=DATA))
    assert [producer(by_name(exported, "Conv_1"), i) for i in (0, 1)] == ["DequantizeLinear"] * 2
    assert [producer(by_name(exported, "Conv_2"), i) for i in (0, 1)] == ["Relu", ""]


def test_layers_that_read_one_tensor_share_its_pair() -> None:
    text = (
        "g (float[1,2,5,5] x, float[3,2,3,3] w, float[3,2,3,3] w2) => (float[1,3,3,3] y, float[1,3,3,3] z)"
        " { y = Conv (x, w) z = Conv (x, w2) }"
    )
    model = model_of(text, "w w2")
    assert count(qdq.export(model, record_of(model, Conv_0=DATA, Conv_1=DATA)), "QuantizeLinear") == 1
    other = QParams.of(0.03, 0)
    assert count(qdq.export(model, record_of(model, Conv_0=DATA, Conv_1=other)), "QuantizeLinear") == 2


def test_a_weight_that_two_layers_read_is_stored_once() -> None:
    model = model_of("g (float[1,3,5,5] x, float[3,3,3,3] w) => (float[1,3,1,1] y) { h = Conv (x, w) y = Conv (h, w) }", "w")
    exported = qdq.export(model, record_of(model, Conv_0=DATA, Conv_1=DATA))
    weights = [v for v in exported.graph.initializers.values() if v.shape.rank() == 4]
    assert [v.dtype for v in weights] == [ir.DataType.INT8]
    assert by_name(exported, "Conv_0").inputs[1] is by_name(exported, "Conv_1").inputs[1]


def test_a_weight_that_an_identity_hands_on_is_stored_once() -> None:
    text = "g (float[1,3] x, float[3,3] w) => (float[1,3] y) { h = MatMul (x, w) i = Identity (w) y = MatMul (h, i) }"
    model = prepare(model_of(text, "w")).model
    exported = qdq.export(model, record_of(model, MatMul_0=DATA, MatMul_2=DATA))
    weights = [v for v in exported.graph.initializers.values() if v.shape.rank() == 2]
    assert [v.dtype for v in weights] == [ir.DataType.INT8]


def test_a_weight_read_along_two_axes_is_quantized_for_each() -> None:
    """Equal scales do not make it the same tensor: rows for one reader are columns for the other."""
    model = model_of(
        "g (float[1,3,5,5] x, float[3,3,3,3] w) => (float[1,3,5,5] y) { h = Conv (x, w) y = ConvTranspose (h, w) }", "w"
    )
    scales = QParams.of([0.01, 0.02, 0.04], 0)
    record = QuantRecord((LayerRecord("Conv_0", DATA, scales), LayerRecord("ConvTranspose_1", DATA, scales)))
    exported = qdq.export(model, record)
    axes = {ir.attribute(by_name(exported, n).inputs[1].producer(), "axis", 1) for n in ("Conv_0", "ConvTranspose_1")}
    assert axes == {0, 1}


def test_names_and_dynamic_dimensions_of_inputs_and_outputs_stay() -> None:
    model = model_of(
        "g (float[N,2,5,5] x, float[3,2,3,3] w) => (float[N,3,3,3] y, float[N,3,3,3] z) { y = Conv (x, w) z = Relu (y) }", "w"
    )
    exported = qdq.export(model, record_of(model, Conv_0=DATA))
    assert [v.name for v in exported.graph.outputs] == ["y", "z"]
    assert ir.dims_of(exported.graph.inputs[0])[0] == "N"
    for batch in (1, 3):
        y, z = outputs_of(exported, feeds_for(model, size=batch))
        assert y.shape == (batch, 3, 3, 3)
        np.testing.assert_array_equal(z, np.maximum(y, 0))


def test_a_bias_that_does_not_fit_is_an_error_that_names_channel_and_remedy() -> None:
    b = np.array([0, 1e5, 0], np.float32)
    model = model_of(
        "g (float[1,2,5,5] x, float[3,2,3,3] w, float[3] b) => (float[1,3,3,3] y) { y = Conv (x, w, b) }", "w", b=b
    )
    record = QuantRecord((LayerRecord("Conv_0", DATA, QParams.of(1e-6, 0)),))
    with pytest.raises(
        ExportError, match=r"bias of Conv_0 \(Conv\) does not fit into int32 in channel 1: 100000 .*skip the layer"
    ):
        qdq.export(model, record)
    vanished = QuantRecord((LayerRecord("Conv_0", QParams.of(1e-45, 0), QParams.of(1e-6, 0)),))
    with pytest.raises(ExportError, match=r"does not fit into int32 in channel 0: 0 / 0\. Raise scale_d"):
        qdq.export(model, vanished)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (LayerRecord("nowhere", DATA, QParams.of(0.1, 0)), "names 'nowhere', which is no node"),
        (LayerRecord("Relu_1", DATA, QParams.of(0.1, 0)), r"Relu_1 \(Relu\) cannot be quantized: no row"),
        (LayerRecord("Conv_0", DATA, None), r"no weight scale for Conv_0 \(Conv\)"),
        (
            LayerRecord("Conv_0", DATA, QParams.of([0.1, 0.1], 0)),
            r"2 weight scales for Conv_0 .* 3 output channels\. Give 1 or 3",
        ),
    ],
)
def test_a_record_that_does_not_fit_is_an_error(record: LayerRecord, message: str) -> None:
    model = model_of("g (float[1,2,5,5] x, float[3,2,3,3] w) => (float[1,3,3,3] y) { h = Conv (x, w) y = Relu (h) }", "w")
    with pytest.raises(ExportError, match=message):
        qdq.export(model, QuantRecord((record,)))


def test_a_record_of_a_weightless_layer_needs_no_weight_scale() -> None:
    case = BY_ID["pool"]
    model = case.model()
    with_one = qdq.export(model, QuantRecord((LayerRecord("AveragePool_0", DATA, QParams.of(1.0, 0)),)))
    without = qdq.export(model, QuantRecord((LayerRecord("AveragePool_0", DATA, None),)))
    assert ir.to_bytes(with_one) == ir.to_bytes(without)


@pytest.mark.parametrize("case_id", ["conv2d", "gemm", "matmul"])
def test_sixteen_bit_activations_run(case_id: str) -> None:
    """int16 QuantizeLinear exists from opset 21 on."""
    case = BY_ID[case_id]
    model = case.model('<ir_version: 10, opset_import: ["": 21]>\n')
    feeds = feeds_for(model)
    entry = record_for(case, model, feeds, per_channel=True).layers[0]
    fine = QParams.of(np.float32(np.abs(feeds["x"]).max() / 32767), 0, 16)
    exported = qdq.export(model, QuantRecord((LayerRecord(entry.key, fine, entry.weight),)))
    full_check(exported)
    assert outputs_of(exported, feeds)[0].shape == outputs_of(model, feeds)[0].shape


def test_the_model_given_is_not_modified() -> None:
    case = BY_ID["conv2d"]
    model = case.model(HEADER)
    before = ir.to_bytes(model)
    qdq.export(model, record_for(case, model, feeds_for(model), per_channel=True))
    assert ir.to_bytes(model) == before
