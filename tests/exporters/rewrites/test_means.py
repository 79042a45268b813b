"""Means of windows become convolutions, those at the border smaller ones, and give the same."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from small_nets import ONE_THREAD, net
from test_channels import ORT

from amct_lite import ir
from amct_lite.exporters.rewrites.means import Stretch, Windows
from amct_lite.pipeline import quantize
from amct_lite.runtime import open_session, optimized

POOLED = """net (float[N,3,33,30] x) => (float[N,16,H,W] y) {
  [c1] a = Conv <pads=[1,1,1,1]> (x, w) [relu] b = Relu (a) [pool] c = AveragePool <HOW> (b) [c2] y = Conv (c, w2) }"""


def kernels(how: str, text: str = POOLED, *, opset: int = 17, **values: object) -> Counter[str]:
    """As ONNX Runtime runs it; node by node, it was compared with the fake-quant model."""
    rng = np.random.default_rng(0)
    given = {"w": (16, 3, 3, 3), "w2": (16, 16, 1, 1)} | values
    model = ir.load_bytes(net(text.replace("HOW", how), opset=opset, **given).SerializeToString())
    samples = [{"x": rng.standard_normal((1, 3, 33, 30)).astype(np.float32)} for _ in range(4)]
    exports = quantize(model, samples, ORT, options=ONE_THREAD).exports
    assert exports.deploy is not None
    sessions = [open_session(model, ONE_THREAD.runtime, optimize=False) for model in (exports.fake_quant, exports.deploy)]
    for sample in [*samples, {"x": np.concatenate([sample["x"] for sample in samples[:2]])}]:
        theirs, ours = (session.run(sample)[0] for session in sessions)
        assert ours.shape == theirs.shape
        different = np.abs(ours - theirs) > 1e-6 * np.abs(theirs).max()
        assert different.mean() < 0.02, "a mean on the edge between two codes may fall to either side, as a sum is rounded"
        np.testing.assert_allclose(ours, theirs, atol=2e-2 * np.abs(theirs).max())
    return Counter(node.op_type for node in optimized(exports.deploy).graph)


@pytest.mark.parametrize(
    ("how", "pieces"),
    [
        ("kernel_shape=[3,3], pads=[1,1,1,1]", 9),
        ("kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1]", 6),
        ("kernel_shape=[2,2], strides=[2,2], ceil_mode=1", 2),
        ("kernel_shape=[3,1], pads=[1,0,1,0]", 3),
        ("kernel_shape=[3,3], strides=[2,2], pads=[0,0,1,1]", 2),
        ('kernel_shape=[3,3], auto_pad="SAME_UPPER"', 9),
        ('kernel_shape=[2,2], auto_pad="SAME_LOWER"', 4),
        ('kernel_shape=[4,3], strides=[2,2], auto_pad="SAME_UPPER"', 6),
    ],
)
def test_windows_at_the_border_are_convolutions_of_their_own(how: str, pieces: int) -> None:
    found = kernels(how)
    assert (found["QLinearConv"], found["QLinearAveragePool"]) == (1 + pieces, 0)
    assert found["DequantizeLinear"] == 2, "of the last layer, which writes float"


@pytest.mark.parametrize(
    "how",
    [
        "kernel_shape=[3,3], strides=[3,3], ceil_mode=1",
        'kernel_shape=[3,3], strides=[3,3], auto_pad="SAME_UPPER"',
        "kernel_shape=[33,3], strides=[1,3]",
    ],
)
def test_where_all_windows_lie_inside_one_is_enough(how: str) -> None:
    found = kernels(how)
    assert (found["QLinearConv"], found["QLinearAveragePool"], found["Slice"]) == (2, 0, 0)


@pytest.mark.parametrize(
    "pool", ["AveragePool <kernel_shape=[33,3], strides=[1,3]>", "ReduceMean <axes=[2,3]>"], ids=["windows", "all"]
)
def test_the_mean_keeps_its_name(pool: str) -> None:
    """Who compares tensors by name finds it: it is the same, whoever computes it."""
    text = POOLED.replace("AveragePool <HOW>", pool).replace("(c, w2)", "(c, w2, b2)")
    model = ir.load_bytes(net(text, w=(16, 3, 3, 3), w2=(16, 16, 1, 1), b2=(16,)).SerializeToString())
    samples = [{"x": np.random.default_rng(0).standard_normal((1, 3, 33, 30)).astype(np.float32)}]
    deploy = quantize(model, samples, ORT, options=ONE_THREAD).exports.deploy
    assert deploy is not None
    (maker,) = (node for node in deploy.graph if any(value.name == "c" for value in node.outputs))
    assert maker.op_type in {"Conv", "GlobalAveragePool"}


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ('kernel_shape=[3,3], auto_pad="SAME_UPPER", count_include_pad=1', POOLED),
        ("kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1], ceil_mode=1, count_include_pad=1", POOLED),
        ("kernel_shape=[34,2], strides=[1,2], pads=[1,0,0,0], ceil_mode=1, count_include_pad=1", POOLED),
        ('kernel_shape=[34,2], strides=[33,2], auto_pad="SAME_UPPER", count_include_pad=1', POOLED),
        ("kernel_shape=[5,5], pads=[2,2,2,2]", POOLED),
        ("kernel_shape=[3,3], pads=[1,1,1,1]", POOLED.replace("[c1] a = Conv <", "[c1] a = Conv <strides=[3,3], ")),
        ("kernel_shape=[3,3], pads=[1,1,1,1]", POOLED.replace("33,30] x", "H0,W0] x")),
    ],
    ids=["counted", "counted, ceil_mode", "one row, ceil_mode", "one row", "many pieces", "small", "open"],
)
def test_others_stay_pools(how: str, text: str) -> None:
    assert kernels(how, text)["QLinearAveragePool"] == 1


def test_windows_with_gaps_stay_pools() -> None:
    """Of floats: ONNX Runtime has no kernel for codes."""
    text = POOLED.replace("(b) [c2]", "(m) [c2]").replace("[pool]", "[half] m = Slice (b, low, high, axis) [pool]")
    text = text.replace("y) {", "y, float[N,16,H2,W2] z) {").replace("[c2]", "[also] z = Conv (m, w2) [c2]")
    bounds = {"low": np.array([1]), "high": np.array([20]), "axis": np.array([2])}
    assert kernels("kernel_shape=[2,2], dilations=[2,2]", text, opset=19, **bounds)["AveragePool"] == 1


def test_stretches_are_windows_of_one_size() -> None:
    assert Windows(7, 3, 2, 1, 4).stretches() == (Stretch(0, 2, 1), Stretch(1, 3, 2), Stretch(5, 2, 1))
    assert Windows(6, 3, 1, 0, 4).stretches() == (Stretch(0, 3, 4),)
    assert Windows(4, 6, 6, 1, 1).stretches() == (Stretch(0, 4, 1),)
