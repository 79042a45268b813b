"""Which nodes are layers, and what the Ascend target says of them."""

import numpy as np
import pytest
from layer_cases import BY_ID, CASES, channel_scales, layer_node, named, weight_of
from passes.graphs import parse

from amct_lite import ir
from amct_lite.ops import OPS, Layer, bind

OPSET = '<ir_version: 8, opset_import: ["": 13]>'


def bound(model: ir.Model) -> Layer:
    layer = bind(layer_node(model))
    assert isinstance(layer, Layer), layer
    return layer


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_ascend_target_refuses_with_a_reason(case) -> None:
    layer = bound(case.model())
    reason = OPS.get(layer.op_type).ascend(layer)
    if case.refused:
        assert reason is not None
        assert case.refused in reason
    else:
        assert reason is None


@pytest.mark.parametrize("case", [case for case in CASES if case.weight], ids=lambda case: case.id)
def test_rows_hold_one_output_channel_each_and_come_back(case) -> None:
    model = case.model()
    layer, weight = bound(model), weight_of(case, model)
    rows = layer.rows(weight)
    assert rows.shape == (layer.channels, weight.size // layer.channels)
    np.testing.assert_array_equal(layer.from_rows(rows, weight.shape), weight)
    scales = channel_scales(weight, case.axis, case.group, True)
    np.testing.assert_allclose(np.abs(rows).max(axis=1) / 127, scales, rtol=1e-6)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("g (float[1,2,5,5] x, float[3,2,3,3] k) => (float[1,3,3,3] y) { y = Conv (x, k) }", "not a constant"),
        (
            "g (float[1,2,5,5] x, float[3,2,3,3] w, float[3] k) => (float[1,3,3,3] y) { y = Conv (x, w, k) }",
            "bias is not a constant",
        ),
        ("g (float[3,8] x, float[8,5] w) => (float[3,5] y) { y = Gemm <alpha = 2.0> (x, w) }", ""),
        ("g (float[8,3] x, float[8,5] w) => (float[3,5] y) { y = Gemm <transA = 1> (x, w) }", "transA is 1"),
        ("g (float[3,8] x, float[3,5] w) => (float[3,5] y) { h = MatMul (x, q) y = Add (h, w) }", None),
        ("g (float[3,8] x, float[8] w) => (float[3] y) { y = MatMul (x, w) }", "vector"),
        ("g (float[8] x, float[8,3] w) => (float[3] y) { y = MatMul (x, w) }", "one of its inputs is a vector"),
        ("g (float[8] x, float[8] v) => (float y) { y = MatMul (x, v) }", "vector"),
    ],
)
def test_a_node_that_cannot_be_a_layer_says_why(text: str, reason: str | None) -> None:
    if reason is None:
        text = text.replace("float[3,5] w", "float[3,5] w, float[8,5] q")
    model = named(parse(text, "w q", OPSET))
    found = bind(layer_node(model))
    if not reason:
        assert isinstance(found, Layer)
    else:
        assert isinstance(found, str)
        assert reason in found


@pytest.mark.parametrize(
    ("text", "has_bias"),
    [
        ("g (float[3,8] x, float[8,5] w, float[5] b) => (float[3,5] y) { h = MatMul (x, w) y = Add (h, b) }", True),
        ("g (float[3,8] x, float[8,5] w, float[1] b) => (float[3,5] y) { h = MatMul (x, w) y = Add (h, b) }", False),
        ("g (float[5,8] x, float[8,5] w, float[5,1] b) => (float[5,5] y) { h = MatMul (x, w) y = Add (h, b) }", False),
        (
            "g (float[3,8] x, float[8,5] w, float[5] b) => (float[3,5] y, float[3,5] h) { h = MatMul (x, w) y = Add (h, b) }",
            False,
        ),
        (
            """g (float[3,8] x, float[8,5] w, float[5] b) => (float[3,5] y, float[3,5] z)
            { h = MatMul (x, w) y = Add (h, b) z = Relu (h) }""",
            False,
        ),
        ("g (float[3,8] x, float[8,5] w, float[3,5] k) => (float[3,5] y) { h = MatMul (x, w) y = Add (h, k) }", False),
        ("g (float[8,3] x, float[3,8] w, float[3] b) => (float[3,3] y) { h = MatMul (w, x) y = Add (h, b) }", False),
    ],
)
def test_only_a_plain_vector_behind_a_matmul_is_its_bias(text: str, has_bias: bool) -> None:
    layer = bound(named(parse(text, "w b", OPSET)))
    assert (layer.bias is not None) == has_bias
    assert layer.output.name == ("y" if has_bias else layer.node.outputs[0].name)


def test_an_op_without_row_and_one_of_another_domain_are_no_layers() -> None:
    model = ir.from_text(
        '<ir_version: 8, opset_import: ["": 13, "custom": 1]> g (float[1,2,5,5] x, float[3,2,3,3] k) => (float y)'
        " { h = Relu (x) y = custom.Conv (h, k) }"
    )
    assert [bind(node) for node in model.graph] == [None, None]


def test_depth_dilation_is_refused_for_5d_data() -> None:
    text = (
        BY_ID["conv3d"]
        .text.replace("pads = [0, 0, 0, 0, 0, 0]", "dilations = [2, 1, 1]")
        .replace("[1,3,3,3,3] y", "[1,3,2,3,3] y")
    )
    layer = bound(named(parse(text, "w b", OPSET)))
    assert OPS.get("Conv").ascend(layer) == "ATC takes a 5-D Conv only with depth dilation 1"


@pytest.mark.parametrize(
    ("weight", "group", "reason"),
    [
        ("16,3,3,3,3", 1, "over 3 channels"),
        ("16,1,3,3,3", 1, "over 1 channel takes"),
        ("16,15,1,1,1", 1, "over 15 channels"),
        ("16,2,3,3,3", 2, "over 4 channels"),
        ("16,8,3,3,3", 1, None),
        ("16,17,3,3,3", 1, None),
        ("16,4,3,3,3", 4, None),
        ("4,1,3,3,3", 4, None),
        ("16,3,3,3", 1, None),
    ],
)
def test_convolutions_in_3d_of_few_channels_stay_in_float_for_onnx_runtime(weight, group, reason) -> None:
    sizes = [int(size) for size in weight.split(",")]
    data = ",".join(map(str, [1, sizes[1] * group, *[4] * (len(sizes) - 2)]))
    text = f"g (float[{data}] x, float[{weight}] w) => (float y) {{ y = Conv <group = {group}> (x, w) }}"
    found = OPS.get("Conv").ort(bound(parse(text, "w", OPSET)))
    assert (reason in found) if reason else found is None
