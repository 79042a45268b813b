"""Models with QuantizeLinear and DequantizeLinear keep their scales and their integers, in whatever form they were written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from corpus import SHARED, needs_shared
from onnx import ModelProto, TensorProto, helper, numpy_helper
from qdq_nets import CODES, CODES2, SCALES, SCALES2, one_conv, onnxruntime_form, torch_form
from small_nets import ONE_THREAD, net, run, saved

from amct_lite import ir
from amct_lite.config import QuantConfig
from amct_lite.converting import convert, convert_qdq
from amct_lite.errors import UnsupportedModelError
from amct_lite.pipeline import quantize
from amct_lite.record import format_record, parse_record
from amct_lite.record.diff import diff_records
from amct_lite.result import QuantizeResult
from amct_lite.types import QParams


def converted(model: ModelProto, folder: Path, **settings: object) -> QuantizeResult:
    return convert_qdq(saved(model, folder), config=QuantConfig(**settings), options=ONE_THREAD)  # type: ignore[arg-type]


def deploy_weight(result: QuantizeResult, layer: str) -> np.ndarray:
    assert result.exports.deploy is not None
    node = next(node for node in result.exports.deploy.graph if node.name == layer)
    array = ir.constant_of(node.inputs[1])
    assert array is not None
    return array


def reasons(result: QuantizeResult) -> dict[str, str]:
    return {skip.node: skip.reason for skip in result.report.skips}


def batch(seed: int, shape: tuple[int, ...] = (1, 3, 8, 8)) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(seed).normal(0, 1.2, shape).astype(np.float32)}


def assert_same_outputs(model: ModelProto, result: QuantizeResult, steps: float) -> None:
    """steps: how far the outputs may lie apart; 0 where everything that is rounded is rounded alike."""
    for seed in range(4):
        expected, found = run(model, batch(seed))[0], run(result.exports.fake_quant, batch(seed))[0]
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=steps + 1e-5)


def test_onnxruntime_form_keeps_scales_codes_and_the_relu_it_took_away(tmp_path):
    model = onnxruntime_form()
    result = converted(model, tmp_path, input_shapes={"x": (1, 3, 8, 8)})
    first, second = result.record.layers
    assert first.activation == QParams((float(np.float32(0.02)),), (120 - 128,))
    assert second.activation == QParams((float(np.float32(0.05)),), (-128,))
    assert first.weight is not None
    assert second.weight is not None
    assert np.array_equal(first.weight.scales, SCALES)
    assert second.weight.scale == (float(SCALES2),)
    assert np.array_equal(deploy_weight(result, "conv1"), CODES)
    assert np.array_equal(deploy_weight(result, "conv2"), CODES2)
    assert reasons(result) == {"q2": "left out: the output 'y' reads values that are limited, but not rounded, now"}
    assert_same_outputs(model, result, steps=0.1 / 2)
    assert result.report.outputs[0].mse < 1.1 * 0.1**2 / 12, "more than rounding the output in steps of 0.1 explains"


def test_int32_biases_keep_their_codes(tmp_path):
    model = onnxruntime_form()
    result = converted(model, tmp_path, input_shapes={"x": (1, 3, 8, 8)})
    given = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    assert result.exports.deploy is not None
    for node in result.exports.deploy.graph:
        if node.op_type == "Conv":
            assert np.array_equal(ir.constant_of(node.inputs[2]), given["b1q" if node.name == "conv1" else "b2q"])


def test_torch_form_keeps_everything_but_the_rounding_in_front_of_a_pool(tmp_path):
    model = torch_form()
    result = converted(model, tmp_path)
    assert [layer.key for layer in result.record.layers] == ["conv1", "conv2", "fc", "add:0", "add:1"]
    assert all(layer.tensor_quantize == (":" in layer.key) for layer in result.record.layers)
    assert deploy_weight(result, "conv1").min() == -128
    assert deploy_weight(result, "conv2").min() == -127
    assert reasons(result) == {"q3": "left out: GlobalAveragePool 'pool' reads values that are limited, but not rounded, now"}
    assert_same_outputs(model, result, steps=0.06)


def test_all_scales_taken_leaves_nothing_to_differ(tmp_path):
    model = one_conv()
    assert_same_outputs(model, converted(model, tmp_path), steps=0)


def test_codes_of_minus_128_survive(tmp_path):
    codes = np.full_like(CODES, -128)
    assert np.array_equal(deploy_weight(converted(one_conv(wq=codes), tmp_path), "conv"), codes)


def test_every_code_survives_with_awkward_scales(tmp_path):
    codes = np.resize(np.arange(-128, 128, dtype=np.int8), CODES.shape)
    scales = np.array([1e-6, 1 / 3, 7.1e-5, 123.456], np.float32)
    assert np.array_equal(deploy_weight(converted(one_conv(wq=codes, sw=scales), tmp_path), "conv"), codes)


def test_uint8_weights_around_128_become_int8(tmp_path):
    moved = (CODES.astype(np.int16) + 128).astype(np.uint8)
    model = one_conv(wq=moved, zw=np.full(4, 128, np.uint8))
    result = converted(model, tmp_path)
    assert np.array_equal(deploy_weight(result, "conv"), CODES)
    assert result.report.layers[0].notes == ("uint8 weight codes moved down by 128",)
    assert_same_outputs(model, result, steps=0)


def test_a_normalization_behind_multiplies_the_scales_and_may_turn_signs(tmp_path):
    codes = CODES.copy()
    codes[codes == -128] = -127
    factors = np.array([0.5, -2.0, 1.7, 3.0], np.float32)
    body = "[conv] c = Conv(xd, wd) [bn] y = BatchNormalization(c, gamma, beta, mean, var)"
    others = {"gamma": factors, "beta": (4,), "mean": (4,), "var": np.full(4, 1 - 1e-5, np.float32)}
    model = one_conv(body=body, wq=codes, **others)
    result = converted(model, tmp_path)
    weight = result.record.by_key["conv"].weight
    assert weight is not None
    np.testing.assert_allclose(weight.scales, SCALES * np.abs(factors), rtol=1e-5)
    signs = np.sign(factors).astype(np.int8).reshape(-1, 1, 1, 1)
    assert np.array_equal(deploy_weight(result, "conv"), codes * signs)
    assert_same_outputs(model, result, steps=1e-4)


def test_minus_128_cannot_turn_its_sign(tmp_path):
    body = "[conv] c = Conv(xd, wd) [bn] y = BatchNormalization(c, gamma, beta, mean, var)"
    others = {"gamma": -np.ones(4, np.float32), "beta": (4,), "mean": (4,), "var": np.ones(4, np.float32)}
    with pytest.raises(UnsupportedModelError, match="turns the sign of a weight of code -128"):
        converted(one_conv(body=body, **others), tmp_path)


def test_layout_operators_between_dq_and_layer_are_looked_through(tmp_path):
    model = net(
        """net (float[1,8,8,3] x) => (float[1,4,6,6] y) {
          [q] xq = QuantizeLinear(x, sx, zx)
          [d] xd = DequantizeLinear(xq, sx, zx)
          [t] xt = Transpose<perm = [0,3,1,2]>(xd)
          [r] xr = Relu(xt)
          [dw] wd = DequantizeLinear<axis = 0>(wq, sw)
          [conv] y = Conv(xr, wd)
        }""",
        sx=np.float32(0.02), zx=np.uint8(7), wq=CODES, sw=SCALES,
    )  # fmt: skip
    result = converted(model, tmp_path)
    assert not result.report.skips
    for seed in range(3):
        feeds = batch(seed, (1, 8, 8, 3))
        np.testing.assert_allclose(run(result.exports.fake_quant, feeds)[0], run(model, feeds)[0], rtol=1e-6, atol=1e-5)


def test_codes_that_are_moved_before_their_dq_are_moved_as_numbers(tmp_path):
    text = """net (float[1,8,8,3] x) => (float[1,4,6,6] y) {
      [q] xq = QuantizeLinear(x, sx, zx)
      [t] xt = Transpose<perm = [0,3,1,2]>(xq)
      [d] xd = DequantizeLinear(xt, sx, zx)
      [dw] wd = DequantizeLinear<axis = 0>(wq, sw)
      [conv] y = Conv(xd, wd)
    }"""
    model = net(text, sx=np.float32(0.02), zx=np.int8(7), wq=CODES, sw=SCALES)
    result = converted(model, tmp_path)
    assert not result.report.skips
    feeds = batch(1, (1, 8, 8, 3))
    np.testing.assert_allclose(run(result.exports.fake_quant, feeds)[0], run(model, feeds)[0], rtol=1e-6, atol=1e-5)


def test_a_range_that_stands_for_a_relu_stays_where_nobody_rounds(tmp_path):
    body = """[conv] c = Conv(xd, wd)
      [q1] cq = QuantizeLinear(c, s, z)
      [d1] cd = DequantizeLinear(cq, s, z)
      [out] y = Sqrt(cd)"""
    model = one_conv(body=body, s=np.float32(0.01), z=np.int8(-128))
    result = converted(model, tmp_path)
    found = run(result.exports.fake_quant, batch(2))[0]
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found**2, run(model, batch(2))[0] ** 2, atol=0.005 + 1e-5)


def test_a_body_of_an_if_reads_limited_values(tmp_path):
    body = """[conv] c = Conv(xd, wd)
      [q1] cq = QuantizeLinear(c, s, z)
      [d1] cd = DequantizeLinear(cq, s, z)
      [if] y = If<then_branch = a () => (float[1,4,6,6] t) { [in_a] t = Sqrt(cd) },
                  else_branch = b () => (float[1,4,6,6] e) { [in_b] e = Identity(cd) }>(yes)"""
    model = one_conv(body=body, s=np.float32(0.01), z=np.int8(-128), yes=np.array(True))
    found = run(converted(model, tmp_path).exports.fake_quant, batch(2))[0]
    np.testing.assert_allclose(found**2, run(model, batch(2))[0] ** 2, atol=0.005 + 1e-5)


def test_one_branch_rounded_and_one_not_behind_a_pool(tmp_path):
    """The pool's reader that stays in float is told, and keeps the limits."""
    body = """[pool] p = MaxPool<kernel_shape = [3,3], strides = [1,1]>(xd)
      [conv] c = Conv(p, wd)
      [mean] m = ReduceMean<axes = [1,2,3]>(p)
      [q1] cq = QuantizeLinear(c, s, z)
      [d1] cd = DequantizeLinear(cq, s, z)
      [sum] y = Mul(cd, m)"""
    model = one_conv(body=body.replace("Conv(p, wd)", "Conv<pads = [1,1,1,1]>(p, wd)"), s=np.float32(0.01), z=np.int8(0))
    result = converted(model, tmp_path)
    assert "MaxPool 'pool' reads values that are limited, but not rounded, now" in reasons(result)["q"]
    assert_same_outputs(model, result, steps=0.02)


def test_one_tensor_that_is_two_outputs_is_limited_in_front_of_who_reads_it(tmp_path):
    """The second output, an Identity of the first, is made last."""
    body = """[conv] c = Conv(xd, wd)
      [q1] cq = QuantizeLinear(c, s, z)
      [d1] one = DequantizeLinear(cq, s, z)
      [cast] same = Cast<to = 1>(one)
      [q2] sq = QuantizeLinear(same, s, z)
      [d2] two = DequantizeLinear(sq, s, z)
      [neg] y = Neg(two)"""
    model = one_conv(body=body, s=np.float32(0.01), z=np.int8(0))
    model.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, 4, 6, 6)) for name in ("one", "two"))
    assert_same_outputs(model, converted(model, tmp_path), steps=0.005)


def test_a_rounded_product_that_is_asked_for_its_size_has_its_bias_in_all_models(tmp_path):
    """In the deploy model, whose sizes are fixed, nobody asks, and the sum is a bias."""
    model = net(
        """net (float[N,4,3] x) => (float[N,4,5] y, int64[3] s) {
          [q] xq = QuantizeLinear(x, sx, zx)
          [d] xd = DequantizeLinear(xq, sx, zx)
          [dw] wd = DequantizeLinear(wq, sx, zx)
          [product] p = MatMul(xd, wd)
          [q1] pq = QuantizeLinear(p, sx, zx)
          [d1] pd = DequantizeLinear(pq, sx, zx)
          [size] s = Shape(pd)
          [sum] y = Add(pd, b)
        }""",
        sx=np.float32(0.02),
        zx=np.int8(0),
        wq=CODES.reshape(-1)[:15].reshape(3, 5),
        b=(5,),
    )
    result = converted(model, tmp_path, input_shapes={"x": (1, 4, 3)})
    assert [layer.key for layer in result.record.layers] == ["product"]
    assert result.exports.deploy is not None


ENDS_IN_CODES = """net (float[1,3,8,8] x) => (uint8[1,4,6,6] y) {
  [q] xq = QuantizeLinear(x, sx, zx)
  [d] xd = DequantizeLinear(xq, sx, zx)
  [dw] wd = DequantizeLinear<axis = 0>(wq, sw)
  [conv] c = Conv(xd, wd)
  [out] y = QuantizeLinear(c, sc, zc)
}"""


def test_codes_as_output_become_an_ascend_quant(tmp_path):
    model = net(ENDS_IN_CODES, sx=np.float32(0.02), zx=np.uint8(7), sc=np.float32(0.05), zc=np.uint8(100), wq=CODES, sw=SCALES)
    result = converted(model, tmp_path)
    assert "output 'y' was uint8 codes and is int8 codes now, each 128 lower" in result.report.notes
    assert result.exports.deploy is not None
    last = list(result.exports.deploy.graph)[-1]
    assert (last.op_type, ir.attribute(last, "offset", 0.0)) == ("AscendQuant", 100 - 128)
    assert result.report.outputs[0].mse == 0
    expected = run(model, batch(4))[0].astype(np.int16) - 128
    assert np.array_equal(run(result.exports.fake_quant, batch(4))[0], expected)


def test_int8_codes_as_output_stay_int8_for_onnx_runtime(tmp_path):
    text = ENDS_IN_CODES.replace("uint8", "int8")
    model = net(text, sx=np.float32(0.02), zx=np.int8(7), sc=np.float32(0.05), zc=np.int8(10), wq=CODES, sw=SCALES)
    result = converted(model, tmp_path, target="ort")
    expected, found = run(model, batch(4))[0], run(result.exports.deploy, batch(4))[0]
    assert found.dtype == np.int8
    assert np.array_equal(found, expected)


@pytest.mark.parametrize(("dtype", "zero_point"), [(np.int16, -700), (np.uint16, 40000)])
def test_sixteen_bits_as_data_and_as_output(dtype, zero_point, tmp_path):
    text = ENDS_IN_CODES.replace("uint8", np.dtype(dtype).name)
    scales = {"sx": np.float32(1e-4), "sc": np.float32(2e-3), "sw": SCALES}
    model = net(text, opset=21, ir_version=10, **scales, zx=dtype(zero_point), zc=dtype(zero_point), wq=CODES)
    result = converted(model, tmp_path)
    entry = result.record.by_key["conv"]
    assert entry.activation == QParams.of(1e-4, zero_point - (dtype is np.uint16) * 32768, 16)
    assert result.exports.deploy is not None
    last = list(result.exports.deploy.graph)[-1]
    assert (last.op_type, ir.attribute(last, "dst_type", "")) == ("AscendQuant", "INT16")
    assert result.report.outputs[0].mse == 0
    (ours,), (given,) = run(result.exports.fake_quant, batch(4)), run(model, batch(4))
    assert np.array_equal(ours, given.astype(np.int32) - (dtype is np.uint16) * 32768)


WIDE = """net (float[N,3,8,8] x) => (float[N,2,8,8] y) {
  [q0] xq = QuantizeLinear(x, sx, zx) [d0] xd = DequantizeLinear(xq, sx, zx) [dw] wd = DequantizeLinear<axis = 0>(wq, sw)
  [conv] a = Conv<pads = [1,1,1,1]>(xd, wd) BETWEEN
  [q2] cq = QuantizeLinear(c, sc, zc) [d2] cd = DequantizeLinear(cq, sc, zc) [dv] vd = DequantizeLinear(vq, sc)
  [last] y = Conv(cd, vd) }"""


@pytest.mark.parametrize(
    "between",
    [
        "[relu] c = Relu(a)",
        "[clip] c = Clip(a, low)",
        "[q1] aq = QuantizeLinear(a, sc, zc) [d1] ad = DequantizeLinear(aq, sc, zc) [pad] c = Pad(ad, none)",
    ],
    ids=["relu", "clip", "pad"],
)
@pytest.mark.parametrize("dtype", [np.int16, np.uint16])
def test_sixteen_bits_stay_where_onnxruntime_knows_nothing_of_such_codes(dtype, between, tmp_path):
    """It has no Clip for them, nor a Pad (1.31)."""
    zero = dtype(np.iinfo(dtype).min + 20000)
    values = {"wq": CODES, "sw": SCALES, "low": np.float32(-0.25), "none": np.array([0, 0, 0, 0, 0, 1, 0, 0])}
    weight = {"vq": np.ones((2, 5 if "Pad" in between else 4, 1, 1), np.int8)}
    scales = {"sx": np.float32(1e-4), "zx": zero, "sc": np.float32(2e-4), "zc": zero}
    model = net(WIDE.replace("BETWEEN", between), opset=21, ir_version=10, **values, **weight, **scales)
    result = converted(model, tmp_path, target="ort")
    for seed in range(4):
        found = run(result.exports.deploy, batch(seed))[0]
        np.testing.assert_allclose(found, run(model, batch(seed))[0], atol=1e-3)


def test_float16_models_keep_their_scales_and_their_type(tmp_path):
    wide = torch_form()
    for tensor in wide.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    for info in (*wide.graph.input, *wide.graph.output):
        info.type.tensor_type.elem_type = TensorProto.FLOAT16
    wide.opset_import[0].version, wide.ir_version = 21, 10  # from 19 on Q and DQ know float16
    result = converted(wide, tmp_path)
    assert {e.data_type for e in result.record.layers if not e.tensor_quantize} == {"FLOAT16"}
    assert result.record.by_key["conv1"].activation.scale[0] == np.float16(0.02)
    assert "the source is float16, and so is the deploy model" in " ".join(result.report.notes)
    deploy = result.exports.deploy
    assert deploy is not None
    assert {ir.attribute(n, "dtype", 0) for n in deploy.graph if n.op_type == "AscendDequant"} == {1}
    feeds = {"x": batch(4)["x"].astype(np.float16)}
    (ours,), (given,) = run(result.exports.fake_quant, feeds), run(wide, feeds)
    assert ours.dtype == given.dtype == np.float16
    assert np.abs(ours.astype(np.float32) - given).max() <= 0.01 * np.abs(given).max()  # float16 sums of the model given


def test_an_edited_record_is_exported_from_the_qdq_model_too(tmp_path):
    path = saved(torch_form(), tmp_path)
    result = convert_qdq(path, options=ONE_THREAD)
    again = convert(path, parse_record(format_record(result.record)), options=ONE_THREAD)
    assert ir.to_bytes(again.exports.fake_quant) == ir.to_bytes(result.exports.fake_quant)


def test_a_model_given_as_an_object_is_not_changed():
    model = ir.load_bytes(torch_form().SerializeToString())
    before = ir.to_bytes(model)
    convert_qdq(model, options=ONE_THREAD)
    assert ir.to_bytes(model) == before


STRUCTURE = SHARED / "corpus" / "structure"
REAL = [("mlperftiny_kws_qdq.onnx", (1, 49, 10, 1), 11, 0), ("mlperftiny_resnet8_qdq.onnx", (1, 32, 32, 3), 11, 6)]


@needs_shared
@pytest.mark.parametrize(("name", "shape", "layers", "tensors"), REAL)
def test_real_models_of_tensorflow_compute_the_same(name, shape, layers, tensors):
    """But for the rounding of their last numbers in front of Softmax, and behind it."""
    result = convert_qdq(STRUCTURE / name, config=QuantConfig(input_shapes={"input_f": shape}), options=ONE_THREAD)
    assert len(result.record.layers) == layers + tensors
    assert sum(layer.tensor_quantize for layer in result.record.layers) == tensors
    assert [skip.op_type for skip in result.report.skips] == ["QuantizeLinear"]
    assert result.report.outputs[0].sqnr_db > 35
    assert result.exports.deploy is not None


def test_weights_that_kernels_cannot_sum_are_no_error_of_the_conversion(tmp_path: Path) -> None:
    """Two of -128 in one sum, of which one becomes -127 for ONNX Runtime."""
    codes = np.array(CODES)
    codes[:, 0, 0, :2] = -128
    data = [{"x": np.random.default_rng(n).standard_normal((1, 3, 8, 8)).astype(np.float32)} for n in range(4)]
    path = saved(one_conv(wq=codes), tmp_path)
    kernels = convert_qdq(path, config=QuantConfig(target="ort"), data=data, options=ONE_THREAD).report.kernels
    assert kernels is not None
    assert kernels.judged
    assert 30 < kernels.sqnr_db < 100


def test_in_front_of_an_lstm_integers_are_handed_on_as_in_the_model_that_was_calibrated(tmp_path: Path) -> None:
    text = """net (float[1,3,8,8] x) => (float[8,1,32] s) {
      [conv] c = Conv<pads = [1,1,1,1]> (x, w) [relu] r = Relu (c) [columns] f = Reshape (r, shape)
      [turned] t = Transpose<perm = [2,0,1]> (f) [lstm] h = LSTM<hidden_size = 32> (t, wi, wr) [last] s = Squeeze (h, one) }"""
    weights = {"w": (16, 3, 3, 3), "wi": (1, 128, 128), "wr": (1, 128, 32)}
    model = net(text, shape=np.array([1, 128, 8]), one=np.array([1]), **weights)
    ort = QuantConfig(target="ort")
    result = quantize(saved(model, tmp_path), [batch(seed) for seed in range(4)], ort, options=ONE_THREAD)
    assert {"columns:0", "turned:0"} <= result.record.by_key.keys()
    ir.save(result.exports.fake_quant, tmp_path / "fake.onnx")
    again = convert_qdq(tmp_path / "fake.onnx", config=ort, data=[batch(0)], options=ONE_THREAD)
    assert diff_records(again.record, result.record).identical
    kernels = again.report.kernels
    assert kernels is not None
    assert (kernels.integer, kernels.layers) == (2, 2)


@pytest.mark.parametrize(("target", "keys"), [("ort", ["conv", "moved:0", "sine:0"]), ("generic", ["conv"])])
def test_behind_a_conv_onnxruntime_rounds_what_the_model_rounds(target: str, keys: list[str], tmp_path: Path) -> None:
    """Its integer kernel cannot write floats, whoever reads them."""
    text = """net (float[1,3,8,8] x) => (float[4,64] y) {
      xq = QuantizeLinear (x, fine, zero) xd = DequantizeLinear (xq, fine, zero) wd = DequantizeLinear (w, fine)
      [conv] c = Conv<pads = [1,1,1,1]> (xd, wd) cq = QuantizeLinear (c, coarse, zero) cd = DequantizeLinear (cq, coarse, zero)
      [moved] m = Reshape (cd, shape) [sine] y = Sin (m) }"""
    numbers = {"fine": np.float32(0.02), "coarse": np.float32(0.1), "zero": np.int8(3), "shape": np.array([4, 64])}
    result = converted(net(text, w=CODES, **numbers), tmp_path, target=target)
    assert [entry.key for entry in result.record.layers] == keys
    kernels = result.report.kernels
    assert kernels is None or (kernels.integer, kernels.layers) == (1, 1)


@pytest.mark.parametrize("target", ["ascend", "ort"])
def test_what_a_q_does_in_place_of_a_relu_is_no_error_of_rounding(target: str, tmp_path: Path) -> None:
    """Neither of a layer nor, where there is a record, of the model against float."""
    path = saved(onnxruntime_form(), tmp_path)
    config, data = QuantConfig(target=target, input_shapes={"x": (1, 3, 8, 8)}), [batch(seed) for seed in range(4)]
    taken = convert_qdq(path, config=config, data=data, options=ONE_THREAD)
    again = convert(path, taken.record, config=config, data=data, options=ONE_THREAD)
    for result in (taken, again):
        assert result.report.warnings == ()
        assert all(row.sqnr_db is not None and row.sqnr_db > 30 for row in result.report.layers)
    assert again.report.outputs[0].sqnr_db > 30
