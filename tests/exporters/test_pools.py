"""Means that count pads, and whose last window ends behind them: the integer kernel gives what the operator says."""

from __future__ import annotations

import re
from itertools import product

import numpy as np
import pytest
from small_nets import ONE_THREAD, images, net, run

from amct_lite import ir
from amct_lite.config import QuantConfig
from amct_lite.exporters.pools import round_down
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


def test_pads_as_wide_as_a_window_are_never_asked_for() -> None:
    text = """<ir_version: 8, opset_import: ["": 17]> net (float[1,1,9,9] x) => (float[A,B,C,D] y) {
      y = MaxPool <kernel_shape=[2,2], dilations=[3,3], strides=[5,5], pads=[0,0,1,1], ceil_mode=1> (x) }"""
    model, feeds = ir.from_text(text), {"x": np.random.default_rng(0).standard_normal((1, 1, 9, 9), np.float32)}
    round_down(model)
    before, after = (open_session(m, ONE_THREAD.runtime, optimize=False).run(feeds)[0] for m in (ir.from_text(text), model))
    np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize("opset", [17, 21, 22])
@pytest.mark.parametrize("pool", ["AveragePool", "MaxPool"])
@pytest.mark.parametrize(
    "form",
    [
        "kernel_shape = [1, 3], strides = [2, 3], pads = [0, 1, 0, 1]",
        "kernel_shape = [5, 2], strides = [4, 3], pads = [2, 0, 1, 1]",
        "kernel_shape = [3, 3], strides = [2, 2]",
        'kernel_shape = [2, 3], strides = [3, 2], auto_pad = "VALID"',
    ],
)
def test_windows_are_counted_as_they_are_computed(opset: int, pool: str, form: str) -> None:
    """Behind the pool and behind who reads it; what is declared of outputs stays, and not a number changes."""
    for height, width in product(range(8, 14), range(8, 12)):
        text = f"""<ir_version: 8, opset_import: ["": {opset}]> net (float[1,1,{height},{width}] x) => (float[A,B,C,D] y) {{
          p = {pool} <ceil_mode = 1, {form}> (x) r = Relu (p) y = Neg (r) }}"""
        model, feeds = ir.from_text(text), {"x": np.random.default_rng(0).standard_normal((1, 1, height, width), np.float32)}
        ir.infer_shapes(model)
        round_down(model)
        ir.infer_shapes(model)
        before, after = (open_session(m, ONE_THREAD.runtime, optimize=False).run(feeds)[0] for m in (ir.from_text(text), model))
        np.testing.assert_array_equal(after, before)
        assert [ir.dims_of(node.outputs[0]) for node in model.graph][:2] == [before.shape] * 2
