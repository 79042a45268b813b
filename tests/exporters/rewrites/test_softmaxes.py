"""A Softmax of codes whose results are codes again is computed in float."""

from __future__ import annotations

import numpy as np
import pytest
from small_nets import ONE_THREAD, kernels, net, require_equal, run

from amct_lite import ir
from amct_lite.config import QuantConfig
from amct_lite.pipeline import quantize
from amct_lite.runtime import open_session

TEXT = """net (float[N,3,8,8] x) => (float[N,4,8,8] y) {
  [first] a = Conv <pads=[1,1,1,1]> (x, w) [shares] s = Softmax <axis=AXIS> (a) [last] y = Conv (s, wl) }"""


@pytest.mark.parametrize("outputs", [6, 8])  # of 6 channels the integer kernel computes 8 and cuts 2 off
@pytest.mark.parametrize("axis", [1, 3])
def test_a_softmax_of_codes_does_not_lose_a_step(axis: int, outputs: int) -> None:
    rng = np.random.default_rng(3)
    w = rng.standard_normal((outputs, 3, 3, 3)).astype(np.float32)
    model = ir.load_bytes(net(TEXT.replace("AXIS", str(axis)), w=w, wl=(4, outputs, 1, 1)).SerializeToString())
    data = [{"x": rng.standard_normal((1, 3, 8, 8)).astype(np.float32)} for _ in range(8)]
    result = quantize(model, data, QuantConfig(target="ort"), options=ONE_THREAD)
    assert result.exports.deploy is not None
    found = kernels(result)
    assert (found["Softmax"], found["QLinearSoftmax"], found["QLinearConv"]) == (1, 0, 1)
    session = open_session(result.exports.deploy, ONE_THREAD.runtime)
    for sample in data[:2]:
        theirs = run(result.exports.fake_quant, sample)[0]
        assert np.mean(np.abs(session.run(sample)[0] - theirs) > 1e-5 * np.abs(theirs).max()) < 0.01  # ties
        np.testing.assert_array_equal(run(result.exports.deploy, sample)[0], theirs)


def test_one_of_floats_stays_as_it_is() -> None:
    text = """net (float[N,6,16] x) => (float[N,6,4] y) {
      [first] a = MatMul (x, w) [bound] b = Clip (a, low, high) [shares] s = Softmax (b) [last] y = MatMul (s, wl) }"""
    model = net(text, w=(16, 8), wl=(8, 4), low=np.float32(-1), high=np.float32(1)).SerializeToString()
    data = [{"x": np.random.default_rng(seed).standard_normal((1, 6, 16)).astype(np.float32)} for seed in range(8)]
    exports = quantize(ir.load_bytes(model), data, QuantConfig(target="ort"), options=ONE_THREAD).exports
    require_equal(exports, data[:2])
