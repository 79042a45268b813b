"""The deploy model is stated in an opset that ATC has parsers for, in as few operators as that takes."""

from pathlib import Path

import numpy as np
import onnx
from exporters.test_ascend import ops
from ir.test_older import parse
from ir.test_opset import assert_same, feeds_for

import amct_lite
from amct_lite import ir
from amct_lite.exporters.atc import NEWEST_OPSET, for_atc, obstacles
from amct_lite.passes import lift_constants

HEADS = "float[2,4,5,8] q, float[2,4,7,8] k, float[2,4,7,8] v"


def prepared(opset: int, inputs: str, body: str) -> ir.Model:
    model = parse(opset, inputs, body)
    lift_constants.run(model)
    ir.infer_shapes(model)
    return model


def test_an_attention_without_a_mask_is_two_products_and_a_softmax() -> None:
    model = prepared(23, HEADS, "y = Attention (q, k, v)")
    deploy = for_atc(model)
    assert {"MatMul", "Softmax"} < set(ops(deploy)) <= {"MatMul", "Softmax", "Mul", "Transpose", "Reshape", "Unsqueeze"}
    assert ops(deploy).count("MatMul") == 2
    assert ir.opset(deploy) == 14, "what needed 18 was known beforehand"
    assert_same(model, deploy, feeds_for(model))


def test_its_mask_is_kept() -> None:
    body = "zero = Constant <value = float {0}> () b = Greater (m, zero) y = Attention (q, k, v, b)"
    model = prepared(23, f"{HEADS}, float[1,1,5,7] m", body)
    deploy = for_atc(model)
    assert {"Where", "Add"} < set(ops(deploy))
    assert_same(model, deploy, feeds_for(model))


def test_a_mask_that_hides_nothing_is_not_computed() -> None:
    values = "{" + ", ".join(["1"] * 35) + "}"
    body = f"m = Constant <value = int64[1,1,5,7] {values}> () b = Cast <to = 9> (m) y = Attention (q, k, v, b)"
    model = prepared(23, HEADS, body)
    deploy = for_atc(model)
    assert not {"Where", "Add", "Cast"} & set(ops(deploy))
    assert_same(model, deploy, feeds_for(model))


def test_a_layer_is_kept_though_it_reads_sizes_alone() -> None:
    body = """s = Shape (x) f = Cast <to = 1> (s) w = Constant <value = float[2,3] {1, 2, 3, 4, 5, 6}> ()
        m = MatMul (f, w) a = Gelu (x) y = Add (a, m)"""
    model = prepared(20, "float[4,3] x", body)
    layer = next(str(node.name) for node in model.graph if node.op_type == "MatMul")
    assert "MatMul" not in ops(for_atc(model))
    deploy = for_atc(model, {layer})
    assert "MatMul" in ops(deploy)
    assert ir.opset(deploy) <= NEWEST_OPSET
    assert_same(model, deploy, feeds_for(model))


def test_an_old_model_stays_as_it_is() -> None:
    model = prepared(17, "float[2,3] x", "y = Identity (x)")
    deploy = for_atc(model)
    assert deploy is not model
    assert ir.to_bytes(deploy) == ir.to_bytes(model)


AXES = "a = Constant <value = int64[2] {2, -1}> ()"


def test_means_have_their_axes_where_atc_reads_them() -> None:
    model = prepared(18, "float[2,3,4,5] x", f"{AXES} m = ReduceMean (x, a) y = Relu (m)")
    deploy = for_atc(model)
    assert ir.opset(deploy) == 14
    assert_same(model, deploy, feeds_for(model))


def test_a_mean_is_a_sum_where_something_else_needs_opset_18() -> None:
    body = f"{AXES} l = ReduceMax (x, a) m = ReduceMean <keepdims = 1> (x, a) y = Add (l, m)"
    model = prepared(18, "float[2,3,4,5] x", body)
    deploy = for_atc(model)
    assert ir.opset(deploy) == 18
    assert "ReduceMean" not in ops(deploy)
    assert {"ReduceSum", "Mul"} < set(ops(deploy))
    assert_same(model, deploy, feeds_for(model))


def test_so_does_one_that_has_no_older_words() -> None:
    body = "p = Constant <value = int64[4] {0, 1, 0, 1}> () a = Gelu (x) y = Pad <mode = 'wrap'> (a, p)".replace("'", '"')
    model = prepared(20, "float[2,3] x", body)
    assert ir.to_bytes(for_atc(model)) == ir.to_bytes(model)
    assert obstacles(model) == ("Pad_2 (Pad): mode wrap of opset 19",)


def quantized(tmp_path: Path, opset: int, between: str) -> amct_lite.QuantizeResult:
    """Of two products with `between` them."""
    rng = np.random.default_rng(0)
    text = (
        f'<ir_version: 10, opset_import: ["" : {opset}]>\nnet (float[2,8] x) => (float[2,N] y) '
        f"{{ h = MatMul (x, w) {between} y = MatMul (g, v) }}"
    )
    model = onnx.parser.parse_model(text)
    for name in "wv":
        model.graph.initializer.append(onnx.numpy_helper.from_array(rng.normal(size=(8, 8)).astype(np.float32), name))
    onnx.save(model, tmp_path / "net.onnx")
    return amct_lite.quantize(tmp_path / "net.onnx", [{"x": rng.normal(size=(2, 8)).astype(np.float32)} for _ in range(4)])


def test_a_run_says_what_was_written_out(tmp_path: Path) -> None:
    result = quantized(tmp_path, 20, "g = Gelu (h)")
    assert ir.opset(result.exports.deploy) == 14
    assert ir.opset(result.exports.fake_quant) == 20
    assert [layer.key for layer in result.record.layers] == ["MatMul_0", "MatMul_2"]
    (said,) = [note for note in result.report.notes if "opset" in note]
    assert f"opset 14 instead of 20, as ATC (CANN 8) has parsers up to opset {NEWEST_OPSET}; Gelu (1 ×) is" in said
    assert not [warning for warning in result.report.warnings if "opset" in warning]


def test_a_run_warns_where_atc_would_refuse(tmp_path: Path) -> None:
    result = quantized(tmp_path, 19, 'q = Constant <value = int64[4] {0, 1, 0, -1}> () g = Pad <mode = "wrap"> (h, q)')
    assert ir.opset(result.exports.deploy) == 19
    (said,) = [warning for warning in result.report.warnings if "opset" in warning]
    assert "No parser is registered for Op" in said
    assert "(Pad): mode wrap of opset 19" in said


def test_a_run_says_that_axes_moved(tmp_path: Path) -> None:
    between = "a = Constant <value = int64[1] {1}> () m = ReduceMean <keepdims = 1> (h, a) g = Sub (h, m)"
    result = quantized(tmp_path, 18, between)
    assert ir.opset(result.exports.deploy) == 14
    assert any("opset 14 instead of 18, as ATC reads the axes of means" in note for note in result.report.notes)


def test_a_run_warns_of_a_norm_that_atc_would_misread(tmp_path: Path) -> None:
    between = "a = Constant <value = int64[1] {1}> () l = ReduceMax (h, a) n = ReduceL2 (h, a) s = Add (l, n) g = Div (h, s)"
    result = quantized(tmp_path, 18, between)
    (said,) = [warning for warning in result.report.warnings if "reads the axes" in warning]
    assert "(ReduceL2)" in said
    assert "(ReduceMax)" not in said
