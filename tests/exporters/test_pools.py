"""Means that count pads, and whose last window ends behind them: the integer kernel gives what the operator says."""

from __future__ import annotations

import re

import numpy as np
import pytest
from small_nets import ONE_THREAD, images, net, run

from amct_lite import ir
from amct_lite.config import QuantConfig
from amct_lite.pipeline import quantize
from amct_lite.runtime import open_session

TEXT = """net (float[N,3,16,16] x) => (float[N,6,H,W] y) {
  [stem] a = Conv <pads=[1,1,1,1]> (x, w) [act] b = Relu (a)
  [mean] c = AveragePool <kernel_shape=[3,3], strides=STRIDES, ceil_mode=1, count_include_pad=1, PADS> (b)
  [last] d = Conv (c, wl) [end] y = Relu (d) }"""


@pytest.mark.parametrize("opset", [13, 21])
@pytest.mark.parametrize("strides", ["[2,2]", "[3,2]"])
@pytest.mark.parametrize("pads", ["pads=[0,0,0,0]", "pads=[1,0,1,1]", 'auto_pad="VALID"', "pads=[1,1,0,0]"])
def test_what_lies_behind_the_pads_does_not_count(opset: int, strides: str, pads: str) -> None:
    """Optimized, the model is as near to the float model as the nodes one by one; so is fake-quant where there are no pads."""
    model = net(TEXT.replace("STRIDES", strides).replace("PADS", pads), opset=opset, w=(8, 3, 3, 3), wl=(6, 8, 1, 1))
    config = QuantConfig(target="ort", bias_correction="none")
    exports = quantize(ir.load_bytes(model.SerializeToString()), images(4), config, options=ONE_THREAD).exports
    exact = run(model, images(1)[0])[0]
    assert exports.deploy is not None
    right = [(exports.deploy, False), (exports.deploy, True), (exports.fake_quant, not any(map(int, re.findall(r"\d", pads))))]
    for exported, optimize in right:
        found = open_session(exported, ONE_THREAD.runtime, optimize=optimize).run(images(1)[0])[0]
        assert found.shape == exact.shape
        assert np.abs(found - exact).max() < 0.03 * np.abs(exact).max()
