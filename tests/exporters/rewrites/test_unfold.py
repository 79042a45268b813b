"""For ONNX Runtime a ConvTranspose becomes a Conv on integers; what it computes stays the same, bit for bit."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from small_nets import ONE_THREAD, net
from test_channels import exported

from amct_lite import ir
from amct_lite.config import QuantConfig
from amct_lite.converting import convert
from amct_lite.diagnosis.compare import compare
from amct_lite.pipeline import quantize
from amct_lite.runtime import optimized

UP = """net (float[N,3,6,10] x) => (float[N,8,H,W] y) {
  [stem] a = Conv <pads=[1,1,1,1]> (x, w, b) [act] c = Relu (a)
  [up] d = ConvTranspose <strides=[2,2], pads=[1,1,1,1]> (c, wu, bu) [high] e = Relu (d)
  [last] f = Conv (e, wl) [end] y = Relu (f) }"""


def values(channels: int) -> dict[str, tuple[int, ...]]:
    return {"w": (8, 3, 3, 3), "b": (8,), "wu": (8, channels, 4, 4), "bu": (channels,), "wl": (8, channels, 1, 1)}


def operators(model: ir.Model) -> Counter[str]:
    return Counter(node.op_type for node in model.graph)


@pytest.mark.parametrize("channels", [1, 3, 6])
def test_it_becomes_a_convolution_between_integers(channels: int) -> None:
    before, after = exported(UP, values(channels), 3, (6, 10))
    assert operators(before)["ConvTranspose"] == 1
    assert operators(after)["ConvTranspose"] == 0
    found = operators(optimized(after))
    assert found["QLinearConv"] >= 2, "the last one gives floats"
    assert found["QuantizeLinear"] == 1


def test_sizes_that_are_open_are_no_obstacle() -> None:
    text = UP.replace("float[N,3,6,10] x", "float[N,3,height,width] x")
    found = operators(exported(text, values(6), 3, (6, 10))[1])
    assert found["ConvTranspose"] == 0
    assert found["DepthToSpace"] == 1


def test_one_scale_for_the_whole_weight_stays_one() -> None:
    rng = np.random.default_rng(0)
    samples = [{"x": rng.standard_normal((1, 3, 6, 10)).astype(np.float32)} for _ in range(4)]
    config = QuantConfig(target="ort", bias_correction="none", per_channel="none")
    model = ir.load_bytes(net(UP, **values(6)).SerializeToString())
    exports = quantize(model, samples, config, options=ONE_THREAD).exports
    assert exports.deploy is not None
    (up,) = (node for node in exports.deploy.graph if node.name == "up")
    scaled = up.inputs[1].producer()
    assert up.op_type == "Conv"
    assert ir.constant_of(scaled.inputs[1]).size == 1


def test_one_that_becomes_no_convolution_is_left_in_float_with_the_reason() -> None:
    rng = np.random.default_rng(0)
    samples = [{"x": rng.standard_normal((1, 3, 6, 10)).astype(np.float32)} for _ in range(4)]
    model = ir.load_bytes(net(UP.replace(", pads=[1,1,1,1]> (c,", "> (c,"), **values(6)).SerializeToString())
    report = quantize(model, samples, QuantConfig(target="ort"), options=ONE_THREAD).report
    (skip,) = (skip for skip in report.skips if skip.node == "up")
    assert "this one becomes no Conv: it gives other sizes than its stride times those it reads" in skip.reason


FEW = UP.replace("float[N,8,H,W] y", "float[N,10,20,Three] y").replace(
    "[last] f = Conv (e, wl)", "[last] f = Transpose <perm=[0,2,3,1]> (e)"
)
CRD = UP.replace(
    "[up] d = ConvTranspose <strides=[2,2], pads=[1,1,1,1]> (c, wu, bu)",
    '[wide] g = Conv (c, wg) [up] d = DepthToSpace <blocksize=2, mode="CRD"> (g)',
)


@pytest.mark.parametrize(
    ("text", "other"), [(UP, {}), (FEW, {}), (CRD, {"wg": (24, 8, 1, 1)})], ids=["phases", "cut off", "in another order"]
)
def test_what_holds_other_channels_is_not_compared_with_the_tensor_of_the_float_model(
    text: str, other: dict[str, tuple[int, ...]]
) -> None:
    """A step that got a tensor of the float model for its own would be off by as much as it is large, or fail."""
    weights = values(6) | other
    _, after = exported(text, weights, 3, (6, 10))
    rng = np.random.default_rng(0)
    samples = [{"x": rng.standard_normal((1, 3, 6, 10)).astype(np.float32)} for _ in range(4)]
    found = compare(ir.load_bytes(net(text, **weights).SerializeToString()), after, samples)
    assert not found.skipped
    assert {"c", "y"} <= {row.name for row in found.tensors}
    assert all(row.isolated_db > 30 and row.sqnr_db > 30 for row in found.tensors)


ASKED = UP.replace("float[N,8,H,W] y", "float[N,8,H,W] y, int64[4] z").replace("[last]", "[asked] z = Shape (e) [last]")


def test_who_asks_for_its_shape_is_told_that_of_all_pixels() -> None:
    found = operators(optimized(exported(ASKED, values(6), 3, (6, 10))[1]))
    assert found["ConvTranspose"] == 0
    assert found["QLinearConv"] >= 2


def test_one_whose_floats_others_read_stays_as_it_is() -> None:
    """A record of another target rounds it in front of one layer, and leaves it float in front of the other reader. Its float
    kernel sums up no integers, so any number of weights may have the lowest code."""
    text = UP.replace("float[N,8,H,W] y", "float[N,8,H,W] y, float[N,6,H,W] z").replace("[last]", "[read] z = Tanh (e) [last]")
    rng = np.random.default_rng(0)
    samples = [{"x": rng.standard_normal((1, 3, 6, 10)).astype(np.float32)} for _ in range(4)]
    low = np.where(rng.random((8, 6, 4, 4)) < 0.5, -0.1, rng.uniform(-0.1, 0.1, (8, 6, 4, 4)))
    model = net(text, **values(6) | {"wu": low.astype(np.float32)}).SerializeToString()
    record = quantize(ir.load_bytes(model), samples, QuantConfig(target="generic"), options=ONE_THREAD).record
    config = QuantConfig(target="ort")
    exports = convert(ir.load_bytes(model), record, config=config, data=samples, options=ONE_THREAD).exports
    assert exports.deploy is not None
    before, after = (next(node for node in model.graph if node.name == "up") for model in (exports.fake_quant, exports.deploy))
    codes, same = (ir.constant_of(node.inputs[1].producer().inputs[0]) for node in (before, after))
    assert after.op_type == "ConvTranspose"
    assert (codes == -128).sum() > 100
    np.testing.assert_array_equal(same, codes)
