"""Images that are resized or padded between layers on integers: ONNX Runtime runs the models, optimized, as it runs the float
model."""

from __future__ import annotations

import numpy as np
import pytest
from small_nets import ONE_THREAD, images, net, run

from amct_lite import ir
from amct_lite.config import QuantConfig
from amct_lite.pipeline import quantize
from amct_lite.runtime import open_session

TEXT = """net (float[N,3,H,W] x) => (float[A,B,C,D] y) {
  [c1] a = Conv <pads=[1,1,1,1]> (x, w1) [size] s = Shape (a) [pixels] p = Gather (s, axes) [rest] t = Mod (p, seven)
  [twice] u = Mul (p, two) [f1] v = Cast <to=1> (u) [f2] w = Cast <to=1> (p) [scale] q = Div (v, w)
  [around] r = Concat <axis=0> (t, t)
  [change] b = CHANGE
  [c2] c = Conv <pads=[1,1,1,1]> (b, w2) [c3] y = Conv (c, w2) }"""
VALUES = {
    "w2": (8, 8, 3, 3),
    "axes": np.array([2, 3]),
    "seven": np.array([7]),
    "two": np.array([2]),
    "half": np.array([1, 1, 0.5, 0.5], np.float32),
    "double": np.array([1, 1, 2, 2], np.float32),
    "region": np.array([0, 0, 0.5, 0.5], np.float32),
    "same": np.array([1, 1], np.float32),
    "large": np.array([20, 30]),
}


@pytest.mark.parametrize("sizes", ["N,3,H,W", "1,3,16,16"])
@pytest.mark.parametrize(
    "change",
    [
        'Resize <mode="cubic"> (a, , half)',
        'Resize <mode="cubic"> (a, , double)',
        'Resize <mode="linear", axes=[2,3]> (a, , , u)',
        'Resize <mode="nearest", axes=[-2,-1]> (a, , q)',
        'Resize <mode="linear", axes=[2,3], keep_aspect_ratio_policy="not_larger"> (a, , , large)',
        'Resize <mode="linear", axes=[2,3], coordinate_transformation_mode="tf_crop_and_resize"> (a, region, same)',
        "Pad (a, r, , axes)",
        'Pad <mode="reflect"> (a, r, , axes)',
    ],
)
def test_what_is_computed_or_told_of_some_axes_is_right_between_integer_kernels(sizes: str, change: str) -> None:
    model = net(TEXT.replace("N,3,H,W", sizes).replace("CHANGE", change), opset=18, **VALUES)
    source = ir.load_bytes(model.SerializeToString())
    exports = quantize(source, images(4), QuantConfig(target="ort"), options=ONE_THREAD).exports
    exact = run(model, images(1)[0])[0]
    assert exports.deploy is not None
    for exported in (exports.fake_quant, exports.deploy):
        found = open_session(exported, ONE_THREAD.runtime).run(images(1)[0])[0]
        assert found.shape == exact.shape
        assert np.abs(found - exact).max() < 0.05 * np.abs(exact).max()
