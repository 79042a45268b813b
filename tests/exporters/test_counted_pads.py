"""Means that count pads, and whose last window ends behind them: the integer kernel gives what the operator says."""

from __future__ import annotations

from itertools import product

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
@pytest.mark.parametrize("strides", ["[2,2]", "[3,2]", "[3,3]", "[4,4]"])
@pytest.mark.parametrize("pads", ["pads=[0,0,0,0]", "pads=[1,0,1,1]", 'auto_pad="VALID"', "pads=[1,1,0,0]", "pads=[1,1,1,1]"])
def test_what_lies_behind_the_pads_does_not_count(opset: int, strides: str, pads: str) -> None:
    """Optimized, both models are as near to the float model as their nodes one by one."""
    model = net(TEXT.replace("STRIDES", strides).replace("PADS", pads), opset=opset, w=(8, 3, 3, 3), wl=(6, 8, 1, 1))
    config = QuantConfig(target="ort", bias_correction="none")
    exports = quantize(ir.load_bytes(model.SerializeToString()), images(4), config, options=ONE_THREAD).exports
    exact = run(model, images(1)[0])[0]
    assert exports.deploy is not None
    for exported, optimize in product((exports.deploy, exports.fake_quant), (False, True)):
        found = open_session(exported, ONE_THREAD.runtime, optimize=optimize).run(images(1)[0])[0]
        assert found.shape == exact.shape
        assert np.abs(found - exact).max() < 0.03 * np.abs(exact).max()


def test_a_deploy_model_is_compared_with_pads_that_stand_in_the_image() -> None:
    model = net(TEXT.replace("STRIDES", "[2,2]").replace("PADS", "pads=[1,1,1,1]"), w=(8, 3, 3, 3), wl=(6, 8, 1, 1))
    config = QuantConfig(input_shapes={"x": (1, 3, 16, 16)})
    result = quantize(ir.load_bytes(model.SerializeToString()), images(4), config, options=ONE_THREAD)
    assert "mean" in result.record.by_key
    assert result.exports.deploy is not None
