"""What only moves values is written in other words, and moves the same values: pixel shuffles, and pixels that are repeated."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_nets import ONE_THREAD, net
from test_channels import ORT, exported

from amct_lite import ir
from amct_lite.config import Override, QuantConfig
from amct_lite.pipeline import quantize
from amct_lite.runtime import open_session
from amct_lite.types import AnyArray

SHUFFLE = """net (float[N,3,6,10] x) => (float[N,C,H,W] y) {
  [stem] a = Conv <pads=[1,1,1,1]> (x, w) [act] b = Relu (a)
  [split] c = Reshape (b, parts) [order] d = Transpose <perm=ORDER> (c) [join] e = Reshape (d, whole) [end] y = Sigmoid (e) }"""
CRD, DCR = [0, 1, 4, 2, 5, 3], [0, 3, 4, 1, 5, 2]


def operators(parts: list[int], order: list[int], whole: list[int], text: str = SHUFFLE) -> list[str]:
    """Of the model for ONNX Runtime, which was run beside the fake-quant model and is equal."""
    values = {"w": (18, 3, 3, 3), "parts": np.array(parts), "whole": np.array(whole)}
    _, after = exported(text.replace("ORDER", str(order)), values, 3, (6, 10))
    return [node.op_type for node in after.graph]


@pytest.mark.parametrize(
    ("parts", "order"), [([-1, 2, 3, 3, 6, 10], CRD), ([-1, 3, 3, 2, 6, 10], DCR)], ids=["channels first", "channels last"]
)
def test_a_shuffle_becomes_the_operator_of_that_name(parts: list[int], order: list[int]) -> None:
    found = operators(parts, order, [-1, 2, 18, 30])
    assert "DepthToSpace" in found
    assert not {"Reshape", "Transpose"} & set(found)


@pytest.mark.parametrize(
    ("parts", "order", "whole"),
    [
        ([-1, 2, 3, 3, 6, 10], [0, 1, 4, 2, 5, 3], [-1, 2, 6, 90]),
        ([-1, 3, 2, 3, 6, 10], CRD, [-1, 3, 12, 30]),
        ([-1, 2, 3, 3, 10, 6], CRD, [-1, 2, 30, 18]),
        ([-1, 2, 3, 3, 6, 10], [0, 1, 4, 3, 5, 2], [-1, 2, 18, 30]),
    ],
    ids=["joined otherwise", "no square blocks", "other pixels", "other order"],
)
def test_what_is_no_shuffle_stays(parts: list[int], order: list[int], whole: list[int]) -> None:
    assert operators(parts, order, whole).count("Reshape") == 2


def test_a_shuffle_whose_parts_are_seen_stays() -> None:
    text = SHUFFLE.replace("(float[N,C,H,W] y)", "(float[N,C,H,W] y, float[N,a,b,c,d,e] z)").replace(
        "[end]", "[also] z = Sigmoid (c) [end]"
    )
    assert "Transpose" in operators([-1, 2, 3, 3, 6, 10], CRD, [-1, 2, 18, 30], text)


@pytest.mark.parametrize("rounded", ["order:0", "join:0"])
def test_a_shuffle_of_floats_that_are_rounded_on_the_way_stays(rounded: str) -> None:
    text = """net (float[N,18,6,10] x) => (float[N,C,H,W] y, float[N,4,6,10] z) {
      [split] a = Reshape (x, parts) [order] b = Transpose <perm=[0,1,4,2,5,3]> (a) [join] c = Reshape (b, whole)
      [end] y = Exp (c) [other] z = Conv (x, w) }"""
    values = {"w": (4, 18, 1, 1), "parts": np.array([-1, 2, 3, 3, 6, 10]), "whole": np.array([-1, 2, 18, 30])}
    asked = replace(ORT, tensors={rounded: Override()})
    _, after = exported(text, values, 18, (6, 10), config=asked)
    assert "DepthToSpace" not in {node.op_type for node in after.graph}


def test_a_shuffle_of_an_image_whose_size_onnx_counts_wrong_is_computed_all_the_same() -> None:
    """Of 8 pixels 4 windows in steps of 3 are said to be left, and 3 are."""
    text = """net (float[N,3,9,10] x) => (float[N,C,H,W] y) {
      [stem] a = Conv <pads=[1,1,1,1]> (x, w) [act] b = Relu (a)
      [mean] c = AveragePool <ceil_mode=1, kernel_shape=[2,3], strides=[3,3]> (b) [shuffle] d = DepthToSpace <blocksize=2> (c)
      [last] e = Conv (d, wl) [end] y = Relu (e) }"""
    exported(text, {"w": (16, 3, 3, 3), "wl": (8, 4, 1, 1)}, 3, (9, 10))


REPEAT = """net (float[N,3,6,10] x) => (float[N,8,H,W] y) {
  [stem] a = Conv <pads=[1,1,1,1]> (x, w) [act] b = Relu (a)
  [large] c = Resize <MODES> (b, , INPUTS) [last] d = Conv (c, wl) [end] y = Relu (d) }"""

OF_ONE = REPEAT.replace("float[N,3", "float[1,3")


def resized(modes: str, scales: list[float] | None = None, sizes: list[int] | None = None, text: str = REPEAT) -> list[str]:
    """As `operators`, of a network that resizes by `scales`, or to `sizes`."""
    text = text.replace("MODES", modes).replace("INPUTS", "scales" if sizes is None else ", sizes")
    values = {"scales": np.array(scales, np.float32)} if sizes is None else {"sizes": np.array(sizes)}
    _, after = exported(text, {"w": (8, 3, 3, 3), "wl": (8, 8, 1, 1)} | values, 3, (6, 10))
    return [node.op_type for node in after.graph]


HALF, CORNER = "half_pixel", "asymmetric"


@pytest.mark.parametrize("scales", [[1, 1, 2, 2], [1, 1, 3, 2], [1, 1, 1, 4], [1, 1, 5, 5]])
@pytest.mark.parametrize(
    "modes",
    [
        'mode = "nearest"',
        f'coordinate_transformation_mode = "{CORNER}", nearest_mode = "floor"',
        f'coordinate_transformation_mode = "{HALF}", nearest_mode = "round_prefer_ceil"',
        'coordinate_transformation_mode = "pytorch_half_pixel"',
        'coordinate_transformation_mode = "pytorch_half_pixel", nearest_mode = "round_prefer_ceil"',
    ],
    ids=["usual", "floor", "ceil", "pytorch", "pytorch ceil"],
)
def test_whole_multiples_repeat_the_pixels(modes: str, scales: list[float]) -> None:
    found = resized(modes, scales)
    assert "Expand" in found
    assert "Resize" not in found


def test_sizes_that_are_multiples_repeat_the_pixels() -> None:
    assert "Expand" in resized('mode = "nearest"', sizes=[1, 8, 12, 30], text=OF_ONE)
    asked = "[ask] n = Shape <start = 0, end = 1> (b) [tell] told = Concat <axis = 0> (n, sizes) [large]"
    computed = REPEAT.replace("[large]", asked).replace("INPUTS", ", told")
    assert "Expand" in resized('mode = "nearest"', sizes=[8, 12, 30], text=computed)


def test_sizes_that_are_of_one_batch_where_another_may_come_stay() -> None:
    """The float model gives as many samples as they say, however many it gets."""
    assert "Resize" in resized('mode = "nearest"', sizes=[1, 8, 12, 30])
    assert "Resize" in resized('mode = "nearest"', sizes=[2, 8, 12, 30], text=OF_ONE)


@pytest.mark.parametrize(
    ("modes", "scales"),
    [
        (f'coordinate_transformation_mode = "{CORNER}", nearest_mode = "ceil"', [1, 1, 2, 2]),
        (f'coordinate_transformation_mode = "{CORNER}", nearest_mode = "round_prefer_floor"', [1, 1, 3, 3]),
        ('coordinate_transformation_mode = "align_corners"', [1, 1, 2, 2]),
        ('mode = "linear"', [1, 1, 2, 2]),
        ('mode = "nearest"', [1, 1, 1.5, 2]),
        ('mode = "nearest"', [1, 1, 2.05, 2]),
        ('mode = "nearest"', [1, 1, 0.5, 0.5]),
    ],
    ids=["ceil", "another pixel", "corners", "mixed", "not whole", "a size that is whole by chance", "smaller"],
)
def test_what_takes_other_pixels_stays(modes: str, scales: list[float]) -> None:
    assert "Resize" in resized(modes, scales)


SPREAD = """net (float[N,3,6,10] x) => (float[N,8,H,W] y) {
  [stem] a = Conv <pads=[1,1,1,1]> (x, w, b) [act] c = Relu (a)
  [shuffle] d = DepthToSpace <blocksize=2, mode="MODE"> (c) [last] e = Conv (d, wl) [end] y = Relu (e) }"""


def spread(channels: int, mode: str, text: str = SPREAD) -> list[str]:
    values = {"w": (4 * channels, 3, 3, 3), "b": (4 * channels,), "wl": (8, channels, 1, 1)}
    _, after = exported(text.replace("MODE", mode), values, 3, (6, 10))
    return [node.op_type for node in after.graph]


@pytest.mark.parametrize("mode", ["CRD", "DCR"])
def test_channels_become_pixels_in_blocks_while_they_lie_behind_one_another(mode: str) -> None:
    found = spread(8, mode)
    assert "DepthToSpace" not in found
    assert found.count("Transpose") == 3


def test_few_channels_are_spread_one_by_one() -> None:
    assert "DepthToSpace" in spread(3, "CRD")


def test_channels_that_somebody_else_sees_keep_their_order() -> None:
    text = SPREAD.replace("(float[N,8,H,W] y)", "(float[N,8,H,W] y, float[N,C,h,w] z)").replace(
        "[last]", "[also] z = Sigmoid (c) [last]"
    )
    assert "DepthToSpace" in spread(8, "CRD", text)
    assert "DepthToSpace" not in spread(8, "DCR", text)


SOME_AXES = """net (float[N,3,6,10] x) => (float[N,8,H,W] y) {
  [stem] a = Conv <pads=[1,1,1,1]> (x, w) [act] b = Relu (a)
  [large] c = Resize <mode = "MODE", axes = [AXES], nearest_mode = "ceil"> (b, , INPUTS)
  [mid] e = Conv <pads=[1,1,1,1]> (c, wm) [high] f = Relu (e) [last] d = Conv (f, wl) [end] y = Relu (d) }"""


@pytest.mark.parametrize("first", ["float[N,3,6,10] x", "float[N,3,height,width] x", "float[2,3,6,10] x"])
@pytest.mark.parametrize(("mode", "axes"), [("nearest", "2,3"), ("linear", "2,3"), ("nearest", "-1,2")])
@pytest.mark.parametrize(
    "told", [{"scales": np.array([2, 3], np.float32)}, {"sizes": np.array([12, 30])}], ids=["scales", "sizes"]
)
def test_a_resize_of_some_axes_runs_with_channels_behind_pixels(
    first: str, mode: str, axes: str, told: dict[str, AnyArray]
) -> None:
    """ONNX Runtime refuses what it makes of the axes then, also in the fake-quant model."""
    text = SOME_AXES.replace("float[N,3,6,10] x", first).replace("MODE", mode).replace("AXES", axes)
    text = text.replace("INPUTS", ", sizes" if "sizes" in told else "scales")
    weights = {"w": (8, 3, 3, 3), "wm": (8, 8, 3, 3), "wl": (8, 8, 1, 1)}
    model = ir.load_bytes(net(text, opset=18, **weights, **told).SerializeToString())
    rng = np.random.default_rng(0)
    samples = [{"x": rng.standard_normal((2, 3, 6, 10)).astype(np.float32)} for _ in range(4)]
    exports = quantize(model, samples, QuantConfig(target="ort"), options=ONE_THREAD).exports
    exact = open_session(model, ONE_THREAD.runtime).run(samples[0])[0]
    for ours in (exports.fake_quant, exports.deploy):
        found = open_session(ours, ONE_THREAD.runtime).run(samples[0])[0]
        assert np.abs(found - exact).max() < 0.05 * np.ptp(exact)
