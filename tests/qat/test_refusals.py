"""What cannot be taken from a QDQ model is refused, or left in float, with the reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto
from qdq_nets import CODES, SCALES, one_conv
from small_nets import ONE_THREAD, net, run, saved

from amct_lite.config import QuantConfig
from amct_lite.converting import convert_qdq
from amct_lite.errors import UnsupportedModelError

PLAIN = "[dw] wd = DequantizeLinear<axis = 0>(wq, sw)"

LAYERS = [
    ("weight in float", one_conv("[dw] wd = Identity(w)", w=(4, 3, 3, 3)), "the model does not quantize its weight"),
    (
        "zero points of weights",
        one_conv(zw=np.array([0, 0, 5, 0], np.int8)),
        "its int8 weight has zero point 5, which must be 0",
    ),
    (
        "uint8 weights not around 128",
        one_conv(wq=CODES.astype(np.uint8), zw=np.array([128, 127, 128, 128], np.uint8)),
        "its uint8 weight has zero point 127, which must be 128",
    ),
    (
        "16-bit weights",
        one_conv(wq=CODES.astype(np.int32), zw=np.zeros(4, np.int32)),
        "its weight is quantized to int32, only 8 bits are taken",
    ),
    (
        "scales along input channels",
        one_conv("[dw] wd = DequantizeLinear<axis = 1>(wq, sw, zw)", sw=SCALES[:3], zw=np.zeros(3, np.int8)),
        "the scales of its weight do not lie along its output channels",
    ),
    (
        "data with a scale a channel",
        one_conv(sx=np.array([0.1, 0.2, 0.3], np.float32), zx=np.zeros(3, np.int8)),
        "its data have a scale per channel",
    ),
    ("data in float", one_conv(body="[conv] y = Conv(x, wd)"), "the model does not quantize its data"),
    (
        "a bias beyond int32",
        one_conv(body="[conv] y = Conv(xd, wd, b)", b=np.full(4, 1e7, np.float32)),
        "its bias does not fit into int32 with these scales",
    ),
]


def refused(model: ModelProto, folder: Path, **settings: object) -> str:
    with pytest.raises(UnsupportedModelError) as caught:
        convert_qdq(saved(model, folder), config=QuantConfig(**settings), options=ONE_THREAD)  # type: ignore[arg-type]
    return str(caught.value)


@pytest.mark.parametrize(("model", "reason"), [row[1:] for row in LAYERS], ids=[row[0] for row in LAYERS])
def test_layers_that_cannot_keep_their_scales(model, reason, tmp_path):
    message = refused(model, tmp_path)
    assert reason in message
    assert message.startswith("model.onnx has no layer whose scales can be taken: conv (Conv): ")
    assert "--strip-qdq" in message


PAIR = """net (float[1,3,8,8] x) => (float[1,4,6,6] y) {{
  [q] xq = QuantizeLinear(x, sx, zx)
  {0}
  {1}
  [conv] y = Conv(xd, wd)
}}"""
WHOLE = [
    ("scales that differ", "[d] xd = DequantizeLinear(xq, s2, zx)", PLAIN, r"q \(QuantizeLinear\) and d .* different factors"),
    (
        "zero points that differ",
        "[d] xd = DequantizeLinear(xq, sx, z2)",
        PLAIN,
        "scale 0.0199999996, zero point 0, int8 ag.* 1",
    ),
    ("codes in arithmetic", "n = Neg(xq) [d] xd = DequantizeLinear(n, sx, zx)", PLAIN, r"\(Neg\) works on the integer codes"),
    (
        "a scale of 0",
        "[d] xd = DequantizeLinear(xq, sx, zx)",
        "[dw] wd = DequantizeLinear(wq, s0)",
        "not a finite number above 0",
    ),
    ("a scale that is computed", "s = Exp(f) [d] xd = DequantizeLinear(xq, s, zx)", PLAIN, "zero point that is not constant"),
    (
        "scales that do not fit",
        "[d] xd = DequantizeLinear(xq, sx, zx)",
        "[dw] wd = DequantizeLinear<axis = 0>(wq, s3)",
        r"the scales of dw .* do not fit its constant of shape \(4, 3, 3, 3\)",
    ),
]


@pytest.mark.parametrize(("data", "weight", "reason"), [row[1:] for row in WHOLE], ids=[row[0] for row in WHOLE])
def test_models_that_mean_something_else(data, weight, reason, tmp_path):
    text = PAIR.format(data, weight)
    if "Exp(f)" in text:
        text = text.replace("] x)", "] x, float f)")
    scales = {"sx": np.float32(0.02), "s2": np.float32(0.03), "s0": np.float32(0), "s3": SCALES[:3], "sw": SCALES}
    model = net(text, **scales, zx=np.int8(0), z2=np.int8(1), wq=CODES)
    with pytest.raises(UnsupportedModelError, match=reason):
        convert_qdq(saved(model, tmp_path), options=ONE_THREAD)


def test_a_float_model_has_no_scales_to_take(tmp_path):
    with pytest.raises(UnsupportedModelError, match=r"model\.onnx is a float model.*amct-lite calibrate.*--record"):
        convert_qdq(saved(net(), tmp_path), options=ONE_THREAD)


def test_output_codes_of_a_scale_a_channel_become_numbers(tmp_path):
    """AscendQuant has one scale; the deploy model ends with floats, the rounding is listed as left out."""
    text = """net (float[1,3,8,8] x) => (int8[1,4,6,6] y) {
      [q] xq = QuantizeLinear(x, sx, zx)
      [d] xd = DequantizeLinear(xq, sx, zx)
      [dw] wd = DequantizeLinear<axis = 0>(wq, sw)
      [conv] c = Conv(xd, wd)
      [out] y = QuantizeLinear<axis = 1>(c, sc, zw)
    }"""
    scales = np.array([0.02, 0.05, 0.03, 0.04], np.float32)
    model = net(text, sx=np.float32(0.02), zx=np.int8(0), zw=np.array([1, 0, -3, 5], np.int8), wq=CODES, sw=SCALES, sc=scales)
    result = convert_qdq(saved(model, tmp_path), options=ONE_THREAD)
    told = "output 'y' was int8 codes of a scale for each channel, which the NPU does not make, and is float now"
    assert told in result.report.notes
    assert [(skip.node, skip.op_type) for skip in result.report.skips] == [("out", "QuantizeLinear")]
    feeds = {"x": np.random.default_rng(4).uniform(-2, 2, (1, 3, 8, 8)).astype(np.float32)}
    codes, (ours,) = run(model, feeds)[0].astype(np.float32), run(result.exports.fake_quant, feeds)
    columns = scales[:, None, None], np.array([1, 0, -3, 5], np.float32)[:, None, None]
    inside = np.abs(codes) < 127
    assert inside.mean() > 0.5
    assert (np.abs((codes - columns[1]) * columns[0] - ours) <= columns[0] * 0.5001)[inside].all()  # half a step: not rounded


def test_offsets_that_the_target_does_not_take(tmp_path):
    text = """net (float[1,2,4,6,6] x) => (float[1,4,2,4,4] y) {
      [q] xq = QuantizeLinear(x, sx, zx)
      [d] xd = DequantizeLinear(xq, sx, zx)
      [dw] wd = DequantizeLinear(wq, sx)
      [conv] y = Conv(xd, wd)
    }"""
    codes = np.random.default_rng(0).integers(-127, 128, (4, 2, 3, 3, 3)).astype(np.int8)
    model = net(text, sx=np.float32(0.02), zx=np.int8(4), wq=codes)
    assert "its data have zero point 4 (int8), which must be 0" in refused(model, tmp_path)
    assert convert_qdq(saved(model, tmp_path), config=QuantConfig(target="generic"), options=ONE_THREAD).record.layers
