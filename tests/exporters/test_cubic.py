"""Cubic images between layers on integers: ONNX Runtime runs the models, optimized, as it runs the float model."""

from __future__ import annotations

import numpy as np
import pytest
from small_nets import ONE_THREAD, images, net, run

from amct_lite import ir
from amct_lite.config import QuantConfig
from amct_lite.pipeline import quantize
from amct_lite.runtime import open_session

TEXT = """net (float[N,3,H,W] x) => (float[A,B,C,D] y) {
  [c1] a = Conv <pads=[1,1,1,1]> (x, w1) [resize] b = Resize <mode="cubic"> (a, , scales)
  [c2] c = Conv <pads=[1,1,1,1]> (b, w2) [c3] y = Conv (c, w2) }"""


@pytest.mark.parametrize("sizes", ["N,3,H,W", "1,3,16,16"])
@pytest.mark.parametrize("scale", [0.5, 2])
def test_a_cubic_image_may_be_smaller_behind_an_integer_kernel(sizes: str, scale: float) -> None:
    scales = np.array([1, 1, scale, scale], np.float32)
    model = net(TEXT.replace("N,3,H,W", sizes), w2=(8, 8, 3, 3), scales=scales)
    exports = quantize(
        ir.load_bytes(model.SerializeToString()), images(4), QuantConfig(target="ort"), options=ONE_THREAD
    ).exports
    exact = run(model, images(1)[0])[0]
    assert exports.deploy is not None
    for exported in (exports.fake_quant, exports.deploy):
        found = open_session(exported, ONE_THREAD.runtime).run(images(1)[0])[0]
        assert np.abs(found - exact).max() < 0.05 * np.abs(exact).max()
