"""The deploy model: nodes, names, attributes and parameters as ATC reads them (contract, section 10)."""

import re

import numpy as np
import pytest
from corpus import needs_shared
from layer_cases import BY_ID, named, record_for
from passes.graphs import feeds_for, parse
from reference_data import cases

from amct_lite import ir
from amct_lite.errors import ExportError
from amct_lite.exporters import ascend, qdq
from amct_lite.types import LayerRecord, QParams, QuantRecord
from amct_lite.validate.equivalence import verify_deploy

DATA = QParams.of(0.02, 5)
OPSET = '<ir_version: 8, opset_import: ["": 13]>'
TWO_READERS = "g (float[1,2,5,5] x, float[3,2,3,3] w, float[3,2,3,3] w2) => (float[1,3,3,3] y, float[1,3,3,3] z) { %s }"


def model_of(text: str, constants: str = "", **values: np.ndarray) -> ir.Model:
    return named(parse(text, constants, OPSET, **values))


def record_of(**activations: QParams) -> QuantRecord:
    return QuantRecord(tuple(LayerRecord(name, params, QParams.of(0.01, 0)) for name, params in activations.items()))


def ops(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph]


def by_name(model: ir.Model, name: str) -> ir.Node:
    return next(node for node in model.graph if node.name == name)


def attributes(node: ir.Node) -> dict[str, object]:
    return {name: ir.attribute(node, name, None) for name in node.attributes}


@pytest.mark.parametrize("scale", [0.0078125, 0.031033253, 0.3, 1e-6, 123.456])
def test_quant_carries_the_float32_reciprocal(scale: float) -> None:
    model = BY_ID["conv2d"].model()
    params = QParams.of(scale, -7)
    deploy = ascend.export(model, record_of(Conv_0=params))
    quant = by_name(deploy, "Conv_0.quant")
    assert (quant.op_type, quant.domain) == ("AscendQuant", "")
    assert attributes(quant) == {
        "scale": float(np.float32(1) / np.float32(scale)),
        "offset": -7.0,
        "dst_type": "INT8",
    }
    assert [v.name for v in quant.outputs] == ["Conv_0.quant.output0"]


def test_dequant_parameter_holds_the_bits_of_the_product_of_the_scales() -> None:
    model = BY_ID["conv2d"].model()
    scales = np.array([0.01, 0.02, 0.03, 0.04, 0.05], np.float32)
    record = QuantRecord((LayerRecord("Conv_0", DATA, QParams.of(scales, 0)),))
    deploy = ascend.export(model, record)
    dequant = by_name(deploy, "Conv_0.dequant")
    assert attributes(dequant) == {"dtype": 0}
    param = dequant.inputs[1]
    assert (param.name, param.dtype) == ("Conv_0.dequant.param", ir.DataType.UINT64)
    expected = [int(np.array(s * np.float32(0.02), np.float32).view(np.uint32)) for s in scales]
    assert ir.constant_of(param).tolist() == expected
    np.testing.assert_array_equal(ascend.dequant_scale(ir.constant_of(param)), scales * np.float32(0.02))


@needs_shared
@pytest.mark.parametrize("case", cases("deq_param"), ids=str)
def test_dequant_parameters_are_amcts(case: dict[str, float]) -> None:
    factors = QParams.of(case["scale_d"], 0), QParams.of(case["scale_w"], 0)
    deploy = ascend.export(BY_ID["conv2d"].model(), QuantRecord((LayerRecord("Conv_0", *factors),)))
    assert ir.constant_of(by_name(deploy, "Conv_0.dequant").inputs[1]).tolist() == [case["uint64"]]


def test_constants_are_int8_and_int32() -> None:
    deploy = ascend.export(BY_ID["conv2d"].model(), record_of(Conv_0=DATA))
    node = by_name(deploy, "Conv_0")
    assert [v.dtype for v in node.inputs[1:]] == [ir.DataType.INT8, ir.DataType.INT32]
    assert all(v.dtype != ir.DataType.FLOAT for v in deploy.graph.initializers.values())


def test_readers_with_equal_factors_share_one_quant() -> None:
    model = model_of(TWO_READERS % "y = Conv (x, w) z = Conv (x, w2)", "w w2")
    assert ops(ascend.export(model, record_of(Conv_0=DATA, Conv_1=DATA))).count("AscendQuant") == 1
    deploy = ascend.export(model, record_of(Conv_0=DATA, Conv_1=QParams.of(0.03, 5)))
    assert [n.name for n in deploy.graph if n.op_type == "AscendQuant"] == ["Conv_0.quant", "Conv_1.quant"]


def test_both_factors_of_a_product_of_variables_are_quantized() -> None:
    case = BY_ID["matmul_two"]
    model = case.model()
    deploy = ascend.export(model, record_for(case, model, feeds_for(model), per_channel=False))
    assert [n.name for n in deploy.graph] == ["MatMul_0.quant", "MatMul_0.quant1", "MatMul_0", "MatMul_0.dequant"]


def test_dequant_takes_the_name_of_the_graph_output() -> None:
    deploy = ascend.export(BY_ID["conv2d"].model(), record_of(Conv_0=DATA))
    assert [v.name for v in by_name(deploy, "Conv_0").outputs] == ["Conv_0_output0"]
    assert [v.name for v in by_name(deploy, "Conv_0.dequant").outputs] == ["y"]
    assert [v.name for v in deploy.graph.outputs] == ["y"]


def test_an_output_that_is_also_read_keeps_name_and_readers() -> None:
    model = model_of(TWO_READERS % "y = Conv (x, w) z = Relu (y)", "w w2")
    record = record_of(Conv_0=DATA)
    deploy = ascend.export(model, record)
    assert [v.name for v in deploy.graph.outputs] == ["y", "z"]
    assert by_name(deploy, "Relu_1").inputs[0].producer().name == "Conv_0.dequant"
    verify_deploy(deploy, qdq.export(model, record), [feeds_for(model)])


def test_dequant_stands_behind_the_bias_add_of_a_matmul() -> None:
    case = BY_ID["matmul_bias"]
    model = case.model()
    deploy = ascend.export(model, record_of(MatMul_0=DATA))
    assert ops(deploy) == ["AscendQuant", "MatMul", "Add", "AscendDequant"]
    add = next(n for n in deploy.graph if n.op_type == "Add")
    assert add.inputs[1].dtype == ir.DataType.INT32
    assert [v.name for v in deploy.graph.outputs] == ["y"]


def test_a_skipped_layer_reads_float() -> None:
    model = model_of(TWO_READERS % "y = Conv (x, w) z = Conv (x, w2)", "w w2")
    deploy = ascend.export(model, record_of(Conv_0=DATA))
    assert by_name(deploy, "Conv_1").inputs[0].name == "x"
    assert by_name(deploy, "Conv_1").inputs[1].dtype == ir.DataType.FLOAT


def test_a_body_that_captures_a_layer_reads_the_dequantized_value() -> None:
    model = model_of(
        "g (float[1,2,5,5] x, bool q, float[3,2,3,3] w) => (float[1,3,3,3] y) { h = Conv (x, w) y = branches_on(h) }", "w"
    )
    record = record_of(Conv_0=DATA)
    deploy, fake = ascend.export(model, record), qdq.export(model, record)
    branch = ir.attribute(next(n for n in deploy.graph if n.op_type == "If"), "then_branch")
    assert next(iter(branch)).inputs[0].name == "Conv_0.dequant.output0"
    feeds = feeds_for(model)
    for answer in (True, False):
        verify_deploy(deploy, fake, [{**feeds, "q": np.array(answer)}])


# ---- Clip(0, 6) between AscendDequant and AscendQuant

CLIPPED = (
    "g (float[1,2,7,7] x, bool q, float[3,2,3,3] w, float[3,3,3,3] w2, float[3,3,3,3] w3, float low, float high) => (%s)"
    " { h = Conv (x, w) c = Clip (h, low, high) y = Conv (c, w2) z = %s }"
)
SATURATES = QParams.of(5.9 / 255, -128)
"""Largest code: 255 · 5.9/255 = 5.9 < 6."""
REACHES = QParams.of(6.0 / 255, -128)
"""Largest code: exactly 6, which a Relu would pass as well, but the rule asks for less than 6."""
REACHES_WITH_16_BITS = QParams.of(11.8 / 65535, -32768, 16)
"""Largest code: 11.8. That of 127 stands for 5.9."""


def clipped(
    first: QParams, second: QParams, *, other: str = "Conv (c, w3)", outputs: str = "", low: float = 0, high: float = 6
):
    listed = outputs or "float[1,3,3,3] y, float[1,3,3,3] z"
    text = CLIPPED % (listed, other)
    if "If" in other or "branches" in other:
        text = re.sub(r"float\[1,3,3,3\] z", "float[1,3,5,5] z", text)
    bounds = {"low": np.float32(low), "high": np.float32(high)}
    model = model_of(text, "w w2 w3", **bounds)
    layers = {"Conv_0": DATA, "Conv_2": first}
    if other.startswith("Conv"):
        layers["Conv_3"] = second
    return model, record_of(**layers)


@pytest.mark.parametrize(
    ("first", "second", "relaxed"),
    [
        (SATURATES, SATURATES, True),
        (REACHES, REACHES, False),
        (SATURATES, REACHES, False),
        (REACHES, SATURATES, False),
        (SATURATES, REACHES_WITH_16_BITS, False),
    ],
)
def test_clip_becomes_relu_only_where_all_readers_saturate(first: QParams, second: QParams, relaxed: bool) -> None:
    model, record = clipped(first, second)
    deploy = ascend.export(model, record)
    assert ("Clip" in ops(deploy), "Relu" in ops(deploy)) == (not relaxed, relaxed)
    wide = feeds_for(model)
    wide["x"] = wide["x"] * 10  # beyond 6
    verify_deploy(deploy, qdq.export(model, record), [wide])


def test_the_relu_keeps_the_place_of_the_clip() -> None:
    model, record = clipped(SATURATES, SATURATES)
    relu = next(n for n in ascend.export(model, record).graph if n.op_type == "Relu")
    assert relu.name == "Clip_1"
    assert relu.inputs[0].producer().name == "Conv_0.dequant"
    assert {u.node.op_type for u in ir.uses(relu.outputs[0])} == {"AscendQuant"}


@pytest.mark.parametrize(
    "kept",
    [
        {"other": "Conv (c, w3)", "outputs": "float[1,3,3,3] y, float[1,3,5,5] c"},
        {"other": "branches_on(c)"},
        {"other": "Neg (c)", "outputs": "float[1,3,3,3] y, float[1,3,5,5] z"},
        {"high": 5.0},
        {"low": -1.0},
    ],
    ids=["graph output", "captured", "float reader", "not 6", "not 0"],
)
def test_clip_stays_where_somebody_else_needs_it(kept: dict) -> None:
    model, record = clipped(SATURATES, SATURATES, **kept)
    record = QuantRecord(tuple(layer for layer in record.layers if layer.key in {n.name for n in model.graph}))
    assert "Clip" in ops(ascend.export(model, record))


def test_clip_behind_a_float_layer_stays() -> None:
    model, record = clipped(SATURATES, SATURATES)
    assert "Clip" in ops(ascend.export(model, QuantRecord(record.layers[1:])))


def test_the_model_given_is_not_modified() -> None:
    model, record = clipped(SATURATES, SATURATES)
    before = ir.to_bytes(model)
    ascend.export(model, record)
    assert ir.to_bytes(model) == before


def test_values_of_the_model_keep_their_names_and_nodes_that_take_those_of_the_contract_are_refused() -> None:
    text = "g (float[1,2,5,5] x, float[3,2,3,3] w, float[3,3,1,1] w2) => (float[1,3,3,3] y, float[1,3,3,3] z) { %s }"
    nodes = """[c1] y = Conv (x, w) ["%s"] c1_output0 = Relu (y) ["r2"] "c2.quant.output0" = Neg (c1_output0)
               [c2] z = Conv ("c2.quant.output0", w2)"""
    record = record_of(c1=DATA, c2=DATA)
    deploy = ascend.export(model_of(text % nodes % "c2.data0.quantizelinear", "w w2"), record)
    names = [str(value.name) for node in deploy.graph for value in node.outputs]
    assert len(set(names)) == len(names)
    fake = qdq.export(model_of(text % nodes % "c2.data0.quantizelinear", "w w2"), record)
    assert verify_deploy(deploy, fake, [feeds_for(fake)]).layers == 2
    with pytest.raises(ExportError, match=r"a node of the model is called 'c2\.quant', as AMCT calls one"):
        ascend.export(model_of(text % nodes % "c2.quant", "w w2"), record)
