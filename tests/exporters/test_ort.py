"""The model for ONNX Runtime's integer kernels: the same function as the fake-quant model, written so that all of it fuses."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from small_nets import FOUR_CONVS, ONE_THREAD, images, kernels, net, require_equal, run

from amct_lite import ir
from amct_lite.config import QuantConfig
from amct_lite.converting import convert
from amct_lite.exporters import ort, qdq
from amct_lite.pipeline import quantize
from amct_lite.result import QuantizeResult
from amct_lite.runtime import open_session, optimized

ORT = QuantConfig(target="ort", bias_correction="none")
CLASSIFIER = """net (float[N,3,16,16] x) => (float[N,5] y) {
  [c1] a = Conv <pads=[1,1,1,1]> (x, w1) [clip] b = Clip (a, low, high) [c2] c = Conv (b, w2)
  [pool] d = ReduceMean <axes=[2,3], keepdims=0> (c)
  [fc] y = Gemm (d, g, gb) }"""
PARTS = {"w2": (8, 8, 1, 1), "g": (8, 5), "gb": (5,), "low": np.float32(0), "high": np.float32(0.5)}
PADDED = """net (float[1,3,16,16] x) => (float[1,8,18,18] y) {
  [c1] a = Conv <pads=[1,1,1,1]> (x, w1) [pad] b = Pad (a, around) [c2] c = Conv (b, w2) [relu] y = Relu (c) }"""
AROUND = {"w2": (8, 8, 1, 1), "around": np.array([0, 0, 1, 1, 0, 0, 1, 1])}
MOVED = """net (float[1,3,16,16] x) => (float[1,2,32,32] y) {
  [c1] a = Conv <pads=[1,1,1,1]> (x, w1) [shuffle] y = DepthToSpace <blocksize=2> (a) }"""
PRODUCT = """net (float[1,3,4,4] x) => (float[1,3,5] y) {
  [flat] a = Reshape (x, rows) [mm] b = MatMul (a, m) [bias] y = Add (b, mb) }"""
HEAD = """net (float[N,3,16,16] x) => (float[N,5,1,1] y) {
  [c1] a = Conv <pads=[1,1,1,1]> (x, w1) [pool] b = GlobalAveragePool (a) [squeeze] c = Conv (b, w2) [relu] d = Relu (c)
  [fc] e = Conv (d, w3, b3) [soft] y = Softmax <axis=1> (e) }"""
ONE_PIXEL = {"w2": (8, 8, 1, 1), "w3": (5, 8, 1, 1), "b3": (5,)}
MATRIX = {"rows": np.array([1, 3, 16]), "m": (16, 5), "mb": (5,)}
RESIZED = """net (float[1,3,16,16] x) => (float[1,8,8,8] y) {
  [c1] a = Conv <pads=[1,1,1,1]> (x, w1) [relu] b = Relu (a) [half] c = Resize <mode="cubic"> (b, , smaller)
  [c2] d = Conv <strides=[2,2]> (b, w2) [add] e = Add (c, d) [c3] y = Conv (e, w2) }"""
SHAPED = """net (float[N,3,16,16] x) => (float[N,8,16,16] y) {
  [c1] a = Conv <pads=[1,1,1,1]> (x, w1) [relu] b = Relu (a) [size] s = Shape (b)
  [flat] c = Reshape (b, rows) [soft] d = Softmax (c) [back] y = Reshape (d, s) }"""
POOLED = """net (float[1,3,16,16] x) => (float[1,8,H,W] y) {
  [c1] a = Conv <pads=[1,1,1,1]> (x, w1) [pool] b = AveragePool <HOW> (a) [c2] y = Conv (b, w2) }"""
MOVED_MEANS = """net (float[1,3,16,16] x) => (float[1,8] y) {
  [c1] a = Conv <pads=[1,1,1,1]> (x, w1) [max] m = MaxPool <kernel_shape=[2,2], strides=[2,2]> (a)
  [mean] b = AveragePool <kernel_shape=[3,3], pads=[1,1,1,1], count_include_pad=1> (m) [c2] c = Conv (b, w2)
  [cat] d = Concat <axis=1> (c, m) [all] e = ReduceMean <axes=[2,3], keepdims=0> (d) [fc] y = Gemm (e, g) }"""
SQUARE = {"w2": (8, 8, 1, 1)}
NETS = {
    "residual": (FOUR_CONVS, {}),
    "classifier": (CLASSIFIER, PARTS),
    "padded": (PADDED, AROUND),
    "moved": (MOVED, {}),
    "resized": (RESIZED, SQUARE | {"smaller": np.array([1, 1, 0.5, 0.5], np.float32)}),
    "means": (POOLED.replace("HOW", "kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1], count_include_pad=1"), SQUARE),
    "moved means": (MOVED_MEANS, SQUARE | {"g": (16, 8)}),
    "one pixel": (HEAD, ONE_PIXEL),
    "product": (PRODUCT, MATRIX),
    "open matrix": (
        PRODUCT.replace("[1,3,4,4]", "[N,3,4,4]").replace("[1,3,5]", "[N,5]"),
        MATRIX | {"rows": np.array([-1, 16])},
    ),
    "open product": (PRODUCT.replace("[1,3,4,4]", "[N,3,4,4]"), MATRIX | {"rows": np.array([-1, 3, 16])}),
}


def quantized(name: str) -> QuantizeResult:
    text, values = NETS[name]
    size = (4, 4) if name in {"product", "open product", "open matrix"} else (16, 16)
    return quantize(ir.load_bytes(net(text, **values).SerializeToString()), images(8, size=size), ORT, options=ONE_THREAD)


@pytest.mark.parametrize("name", NETS)
def test_it_computes_what_the_fake_quant_model_computes(name: str) -> None:
    """Node by node, without fusions. One step of the last activation: a mean over pixels rounds in another order, and a bias
    as float is not rounded to a step; everything else is equal."""
    result = quantized(name)
    assert result.exports.deploy is not None
    size = (4, 4) if name in {"product", "open product", "open matrix"} else (16, 16)
    pair = [open_session(m, ONE_THREAD.runtime, optimize=False) for m in (result.exports.fake_quant, result.exports.deploy)]
    for sample in images(4, seed=1, size=size):
        theirs, ours = (session.run(sample)[0] for session in pair)
        np.testing.assert_allclose(ours, theirs, atol=2e-2 * np.abs(theirs).max())
        if name in {"residual", "padded", "moved", "resized"}:
            np.testing.assert_array_equal(ours, theirs)


def nodes(name: str) -> Counter[str]:
    result = quantized(name)
    return kernels(result)


def test_a_classifier_runs_on_integers_from_the_first_layer_to_the_last() -> None:
    """The Clip vanished into the range, the mean became a pooling, the last product writes float."""
    found = nodes("classifier")
    assert found["QLinearConv"] == 2
    assert found["QLinearGlobalAveragePool"] == 1
    assert found["QGemm"] == 1
    assert found["QuantizeLinear"] == 1
    assert found["DequantizeLinear"] == found["Clip"] == found["ReduceMean"] == 0


def test_a_padded_image_that_is_an_output_stays_padded() -> None:
    """The convolution behind it would pad it by itself."""
    text = PADDED.replace("[1,8,18,18] y)", "[1,8,18,18] y, float[1,8,18,18] b)")
    result = quantize(ir.load_bytes(net(text, **AROUND).SerializeToString()), images(4), ORT, options=ONE_THREAD)
    require_equal(result.exports, images(2, seed=1))


@pytest.mark.parametrize("axes", [[2, 3], [-1, -2]], ids=str)
def test_a_mean_whose_axes_are_an_input_is_a_pooling_too(axes: list[int]) -> None:
    """As they are from opset 18 on."""
    text = CLASSIFIER.replace("<axes=[2,3], keepdims=0> (c)", "<keepdims=0> (c, axes)")
    model = ir.load_bytes(net(text, opset=18, **PARTS, axes=np.array(axes)).SerializeToString())
    found = kernels(quantize(model, images(4), ORT, options=ONE_THREAD))
    assert (found["QLinearConv"], found["QLinearGlobalAveragePool"], found["QGemm"]) == (2, 1, 1)
    assert found["QuantizeLinear"] == 1


def test_a_mean_over_two_axes_of_a_volume_is_none_over_pixels() -> None:
    text = """net (float[1,3,4,6,6] x) => (float[1,8,6] y) {
      [c1] a = Conv (x, w) [mean] m = ReduceMean <axes=[2,3], keepdims=0> (a) [mm] y = MatMul (m, v) }"""
    model = ir.load_bytes(net(text, w=(8, 3, 1, 1, 1), v=(6, 6)).SerializeToString())
    data = [{"x": np.random.default_rng(0).standard_normal((1, 3, 4, 6, 6)).astype(np.float32)}]
    found = kernels(quantize(model, data, ORT, options=ONE_THREAD))
    assert (found["ReduceMean"], found["QLinearGlobalAveragePool"]) == (1, 0)


def test_a_classifier_of_one_pixel_is_a_product_that_writes_float() -> None:
    """What it says is not rounded; a Conv of one pixel whose reader wants integers stays one."""
    found = nodes("one pixel")
    assert (found["QLinearConv"], found["QGemm"]) == (2, 1)
    assert (found["QuantizeLinear"], found["DequantizeLinear"]) == (1, 0)
    assert not any(entry.key == "soft:0" for entry in quantized("one pixel").record.layers)


def test_a_pad_between_layers_pads_codes() -> None:
    assert nodes("padded")["QuantizeLinear"] == 1


def test_the_output_of_a_node_that_moves_values_is_moved_as_integers() -> None:
    found = nodes("moved")
    assert found["QLinearConv"] == 1
    assert found["QuantizeLinear"] == found["DequantizeLinear"] == 1


@pytest.mark.parametrize(
    ("how", "kernel"),
    [
        ("kernel_shape=[2,2], strides=[2,2]", "QLinearConv"),
        ('kernel_shape=[2,2], strides=[2,2], auto_pad="VALID"', "QLinearConv"),
        ("kernel_shape=[3,3], pads=[1,1,1,1], count_include_pad=1", "QLinearConv"),
        ("kernel_shape=[3,3], pads=[1,1,1,1]", "QLinearAveragePool"),
        ("kernel_shape=[3,3], strides=[2,2], ceil_mode=1", "QLinearAveragePool"),
        ('kernel_shape=[3,3], auto_pad="SAME_UPPER"', "QLinearAveragePool"),
        ("kernel_shape=[16,16]", "QLinearAveragePool"),
    ],
)
def test_a_mean_of_windows_is_a_depthwise_convolution(how: str, kernel: str) -> None:
    """Unless what lies outside does not count, or the one window is the image, whose kernel is fast."""
    model = ir.load_bytes(net(POOLED.replace("HOW", how), **SQUARE).SerializeToString())
    result = quantize(model, images(4), ORT, options=ONE_THREAD)
    found = kernels(result)
    assert (found["QLinearConv"], found["QLinearAveragePool"]) == ((2, 0) if kernel == "QLinearConv" else (1, 1))


@pytest.mark.parametrize(
    ("moved", "outputs"),
    [
        ("y = DepthToSpace <blocksize=2> (a)", "float[N,2,32,32] y"),
        ("y, z = Split <axis=1> (a, halves)", "float[N,4,16,16] y, float[N,4,16,16] z"),
        ("y = Concat <axis=1> (a, b)", "float[N,16,16,16] y"),
        ("c = Concat <axis=1> (a, b) y = Tanh (c)", "float[N,16,16,16] y"),
        ("y, c = Split <axis=1> (a, halves) z = Tanh (c)", "float[N,4,16,16] y, float[N,4,16,16] z"),
    ],
)
def test_floats_that_leave_movers_are_made_behind_them(moved: str, outputs: str) -> None:
    text = f"""net (float[N,3,16,16] x) => ({outputs}) {{
      [c1] a = Conv <pads=[1,1,1,1]> (x, w1) [c2] b = Conv <pads=[1,1,1,1]> (x, w1) [moved] {moved} }}"""
    model = ir.load_bytes(net(text, halves=np.array([4, 4])).SerializeToString())
    exports = quantize(model, images(4), QuantConfig(target="ort"), options=ONE_THREAD).exports
    assert exports.deploy is not None
    floats = [node.outputs[0] for node in optimized(exports.deploy).graph if node.op_type == "DequantizeLinear"]
    assert floats
    assert {use.node.op_type for value in floats for use in value.uses()} <= {"Tanh"}
    require_equal(exports, images(2))


def test_means_of_moved_codes_are_integer_kernels_too() -> None:
    """Behind a MaxPool or a Concat stands a pair of the exporter's own."""
    found = nodes("moved means")
    assert (found["QLinearConv"], found["QLinearGlobalAveragePool"], found["QGemm"]) == (3, 1, 1)
    assert (found["QLinearAveragePool"], found["ReduceMean"], found["DequantizeLinear"]) == (0, 0, 0)


def test_a_mean_of_windows_that_is_bounded_is_one_too() -> None:
    text = POOLED.replace("(a) [c2]", "(m) [relu] r = Relu (b) [c2]").replace("(b, w2)", "(r, w2)")
    text = text.replace("[pool]", "[max] m = MaxPool <kernel_shape=[2,2]> (a) [pool]").replace("HOW", "kernel_shape=[2,2]")
    model = ir.load_bytes(net(text, **SQUARE).SerializeToString())
    result = quantize(model, images(4), ORT, options=ONE_THREAD)
    assert result.exports.deploy is not None
    assert not [node for node in optimized(result.exports.deploy).graph if "AveragePool" in node.op_type]


def test_a_bound_behind_a_concat_leaves_nobody_in_float() -> None:
    text = """net (float[1,3,16,16] x) => (float[N,C,H,W] y) {
      [c1] a = Conv (x, w1) [c2] b = Conv (x, w1) [both] c = Concat <axis=1> (a, b) [relu] d = Relu (c)
      [c3] e = Conv (d, w3) [add] f = Add (d, e) [relu2] g = Relu (f) [c4] y = Conv (g, w3) }"""
    model = ir.load_bytes(net(text, w1=(4, 3, 1, 1), w3=(8, 8, 1, 1)).SerializeToString())
    result = quantize(model, images(4), ORT, options=ONE_THREAD)
    found = kernels(result)
    assert (found["QLinearConv"], found["QLinearAdd"], found["Relu"], found["Add"]) == (3, 1, 0, 0)


def test_who_asks_for_a_shape_keeps_no_layer_in_float() -> None:
    """The record has no entry for that, so that it is taken again."""
    model = ir.load_bytes(net(SHAPED, rows=np.array([0, -1])).SerializeToString())
    result = quantize(model, images(4), ORT, options=ONE_THREAD)
    assert [entry.key for entry in result.record.layers] == ["c1", "flat:0", "soft:0"]
    assert result.exports.deploy is not None
    onnx.checker.check_model(ir.to_bytes(result.exports.deploy), full_check=True)
    found = kernels(result)
    assert (found["QLinearConv"], found["DequantizeLinear"]) == (1, 1)
    again = convert(result.source.original, result.record, config=ORT, bias_correction="none").exports.deploy
    assert again is not None
    assert ir.to_bytes(again) == ir.to_bytes(result.exports.deploy)


@pytest.mark.parametrize("name", ["product", "open matrix", "open product"])
def test_a_matrix_product_with_bias_is_one_integer_product(name: str) -> None:
    found = nodes(name)
    assert (found["MatMulIntegerToFloat"], found["Add"], found["QGemm"], found["DequantizeLinear"]) == (1, 0, 0, 0)


def test_activations_are_unsigned_and_weights_signed() -> None:
    result = quantized("classifier")
    assert result.exports.deploy is not None
    kinds = Counter()
    for node in result.exports.deploy.graph:
        if node.op_type == "QuantizeLinear":
            kinds[str(ir.constant_of(node.inputs[2]).dtype)] += 1
        elif node.op_type == "DequantizeLinear" and (codes := ir.constant_of(node.inputs[0])) is not None:
            kinds[f"weight {codes.dtype}"] += 1
    assert set(kinds) == {"uint8", "weight int8", "weight int32"}


def lowest_weights(model: ir.Model) -> list[int]:
    """How many weights of -128 each output channel of each layer sums up."""
    counts: list[int] = []
    for node in model.graph:
        if node.op_type in {"Conv", "Gemm", "MatMul", "MatMulIntegerToFloat"}:
            stored = node.inputs[1].producer()
            codes = ir.constant_of(stored.inputs[0] if stored is not None else node.inputs[1])
            last = node.op_type.startswith("MatMul") or (node.op_type == "Gemm" and not ir.attribute(node, "transB", 0))
            sums = (np.moveaxis(codes, -1, 0) if last else codes).reshape(codes.shape[-1 if last else 0], -1)
            counts += (sums == -128).sum(axis=1).tolist()
    return counts


@pytest.mark.parametrize("name", ["one pixel", "product", "classifier"])
def test_no_sum_has_two_weights_of_minus_128(name: str) -> None:
    """ARM kernels add two products in 16 bits: (-128)(-128) twice is too much. Scales for this target need no -128; with those
    of another one a channel stays, where the fake-quant model has many."""
    text, values = NETS[name]
    model = net(text, **values)
    for index, initializer in enumerate(model.graph.initializer):
        array = numpy_helper.to_array(initializer).copy()
        if array.ndim in {2, 4}:
            array.reshape(-1)[np.argsort(array.reshape(-1))[:10]] = array.min()
            model.graph.initializer[index].CopyFrom(numpy_helper.from_array(array, initializer.name))
    prepared, data = ir.load_bytes(model.SerializeToString()), images(8, size=(4, 4) if name == "product" else (16, 16))
    own = quantize(prepared, data, ORT, options=ONE_THREAD).exports.deploy
    other = quantize(prepared, data, QuantConfig(target="generic", bias_correction="none"), options=ONE_THREAD)
    assert own is not None
    assert max(lowest_weights(own)) == 0
    assert max(lowest_weights(other.exports.fake_quant)) > 1
    assert max(lowest_weights(ort.export(other.source.prepared, other.record))) == 1


SHARED_WEIGHTS = {
    "two products": """net (float[1,3,4,4] x) => (float[3,16] y) {
      [flat] a = Reshape (x, rows) [mm] b = MatMul (a, m) [relu] c = Relu (b) [fc] y = Gemm (c, m) }""",
    "a convolution and a transposed one": """net (float[1,16,4,4] x) => (float[1,16,6,6] y) {
      [c1] a = Conv (x, k) [relu] b = Relu (a) [up] y = ConvTranspose (b, k) }""",
}


@pytest.mark.parametrize("per_channel", ["all", "none"])
@pytest.mark.parametrize("name", SHARED_WEIGHTS)
def test_nor_has_one_that_reads_a_weight_of_others(name: str, per_channel: str) -> None:
    values = {"m": (16, 16), "k": (16, 16, 3, 3)}
    extremes = {key: np.where(np.random.default_rng(0).random(shape) < 0.5, -1, 0.99) for key, shape in values.items()}
    model = net(SHARED_WEIGHTS[name], rows=np.array([3, 16]), **{key: array.astype("f4") for key, array in extremes.items()})
    size = (1, 3, 4, 4) if name == "two products" else (1, 16, 4, 4)
    data = [{"x": np.random.default_rng(1).standard_normal(size).astype(np.float32)}]
    generic = QuantConfig(target="generic", bias_correction="none", per_channel=per_channel)
    result = quantize(ir.load_bytes(model.SerializeToString()), data, generic, options=ONE_THREAD)
    exported = ort.export(result.source.prepared, result.record)
    assert lowest_weights(exported)
    assert max(lowest_weights(exported)) == 1


def test_the_prepared_model_is_not_touched() -> None:
    result = quantized("residual")
    before = ir.checksum(result.source.prepared)
    ort.export(result.source.prepared, result.record)
    qdq.export(result.source.prepared, result.record)
    assert ir.checksum(result.source.prepared) == before


def test_what_is_written_is_loaded_and_named_for_its_target(tmp_path) -> None:
    files = {path.name for path in quantized("residual").save(tmp_path / "net")}
    assert "net_ort_model.onnx" in files
    assert not any("deploy" in name for name in files)
    open_session(tmp_path / "net_ort_model.onnx")


def test_the_record_alone_gives_the_same_model_again(tmp_path) -> None:
    result = quantized("residual")
    again = convert(result.source.original, result.record, config=ORT, bias_correction="none")
    assert result.exports.deploy is not None
    assert again.exports.deploy is not None
    assert ir.to_bytes(again.exports.deploy) == ir.to_bytes(result.exports.deploy)


@pytest.mark.parametrize(
    "moved", ["[pool] b = MaxPool <kernel_shape=[1,1]> (a)", "[cat] b = Concat <axis=1> (a, a)", "[sum] b = Add (a, a)"]
)
def test_a_layer_in_float_between_integers_keeps_its_weights(moved: str) -> None:
    """Its channels differ by a factor of a thousand: with the one scale that ONNX Runtime gives unasked, most would be lost."""
    text = f"""net (float[1,3,16,16] x) => (float[1,8,16,16] y) {{
      [c1] a = Conv <pads=[1,1,1,1]> (x, w1) {moved} [kept] c = Conv (b, wide) [relu] d = Relu (c) [c2] y = Conv (d, w2) }}"""
    wide = np.random.default_rng(0).normal(size=(8, 16 if "Concat" in moved else 8, 1, 1))
    wide *= np.geomspace(1e-3, 1, 8).reshape(8, 1, 1, 1)
    model = ir.load_bytes(net(text, w2=(8, 8, 1, 1), wide=wide.astype(np.float32)).SerializeToString())
    result = quantize(model, images(4), replace(ORT, skip=("kept",)), options=ONE_THREAD)
    assert result.exports.deploy is not None
    careful = replace(ONE_THREAD.runtime, disabled_optimizers=("WeightBiasQuantization",))
    pair = [open_session(result.exports.deploy, options) for options in (ONE_THREAD.runtime, careful)]
    for sample in images(2, seed=1):
        np.testing.assert_array_equal(*(session.run(sample)[0] for session in pair))
    convert(model, result.record, config=ORT, bias_correction="none")  # the record is one that is taken again


SHARED_HEAD = """net (float[1,3,16,16] x) => (float[1,8,1,1] y, float[1,8,1,1] z, float[1,8,16,16] q) {
  [c1] a = Conv <pads=[1,1,1,1]> (x, w1, b1) [relu] b = Relu (a)
  [mean] c = GlobalAveragePool (b) [fc1] y = Conv (c, s, sb)
  [most] d = GlobalMaxPool (b) [fc2] z = Conv (d, s, sb)
  [all] q = Conv (b, s, sb) }"""
OUTPUT_MEAN = """net (float[1,3,16,16] x) => (float[1,5] y, float[1,8] m) {
  [c1] a = Conv <pads=[1,1,1,1]> (x, w1) [relu] b = Relu (a) [pool] m = ReduceMean <axes=[2,3], keepdims=0> (b)
  [fc] y = Gemm (m, g, gb) }"""
STACKS = """net (float[1,3,16,16] x) => (float[1,3,16,4] y) {
  [mm1] a = MatMul (x, m) [relu] b = Relu (a) [mm2] y = MatMul (b, k) }"""
MATRICES = {"m": (3, 16, 8), "k": (3, 8, 4)}


def pair_of(text: str, config: QuantConfig = ORT, **values: object) -> tuple[QuantizeResult, list, list]:
    """The result, and the outputs of fake-quant and ort model, each node by itself."""
    result = quantize(ir.load_bytes(net(text, **values).SerializeToString()), images(), config, options=ONE_THREAD)
    assert result.exports.deploy is not None
    return result, run(result.exports.fake_quant, images()[0]), run(result.exports.deploy, images()[0])


def test_convolutions_of_one_pixel_that_share_their_weight_become_products_and_the_others_do_not() -> None:
    """Those behind the first had a matrix for a weight: an output of two dimensions, or a model that does not load."""
    result, theirs, ours = pair_of(SHARED_HEAD, s=(8, 8, 1, 1), sb=(8,))
    for left, right in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(left, right, atol=2e-2 * np.abs(right).max())  # also that their shapes are equal
    onnx.checker.check_model(onnx.load_from_string(ir.to_bytes(result.exports.deploy)), full_check=True)
    assert Counter(node.op_type for node in result.exports.deploy.graph)["Gemm"] == 2


def test_a_convolution_beside_its_only_pixel_is_no_product() -> None:
    """It sees a border of zeros: its result is its bias."""
    text = """net (float[N,3,16,16] x) => (float[N,4,1,1] y) { [all] a = GlobalAveragePool (x)
      [first] b = Conv (a, w) [beside] y = Conv <strides=[3,3], pads=[1,1,1,1]> (b, w2, b2) }"""
    _, theirs, ours = pair_of(text, ORT, w=(8, 3, 1, 1), w2=(4, 8, 1, 1), b2=(4,))
    np.testing.assert_array_equal(ours, theirs)


def test_a_mean_that_leaves_the_network_is_not_rounded() -> None:
    _, (_, theirs), (_, ours) = pair_of(OUTPUT_MEAN, g=(8, 5), gb=(5,))
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(("per_channel", "integer"), [("auto", 2), ("all", 0)])
def test_a_stack_of_matrices_has_one_scale_for_its_kernels_take_no_more(per_channel: str, integer: int) -> None:
    result, _, _ = pair_of(STACKS, replace(ORT, per_channel=per_channel), **MATRICES)
    kernels = result.report.kernels
    assert kernels is not None
    assert kernels.integer == integer
    assert all("stack of matrices with a scale for each channel" in skip.reason for skip in kernels.in_float)


def test_the_fake_quant_model_of_stacks_with_a_scale_for_each_channel_runs_optimized() -> None:
    """ONNX Runtime made integer products of them, which it then refused to run."""
    config = QuantConfig(target="generic", per_channel="all", bias_correction="none")
    model = ir.load_bytes(net(STACKS, **MATRICES).SerializeToString())
    result = quantize(model, images(), config, options=ONE_THREAD)
    plain, fused = (open_session(result.exports.fake_quant, ONE_THREAD.runtime, optimize=on) for on in (False, True))
    np.testing.assert_allclose(fused.run(images()[0])[0], plain.run(images()[0])[0], atol=1e-5)
    assert all(len(entry.weight.scale) > 1 for entry in result.record.layers if entry.weight)
