"""A tensor between layers that 8 bits cannot hold is passed on as float, and said so."""

from __future__ import annotations

import numpy as np
import pytest
from small_nets import ONE_THREAD, images, net

from amct_lite import ir
from amct_lite.config import QuantConfig
from amct_lite.numerics.observation import Observation
from amct_lite.numerics.rounding import vanishing_share
from amct_lite.numerics.sketch import Sketch
from amct_lite.pipeline import quantize
from amct_lite.result import QuantizeResult
from amct_lite.types import QParams

SQUARES = """net (float[1,3,16,16] x) => (float[1,8,16,16] y) {
  [c1] a = Conv <pads=[1,1,1,1]> (x, w1) [c2] b = Conv (a, w2) [mul] s = Mul (a, b) [square] t = Mul (s, s) [add] u = Add (t, b)
  [c3] y = Conv (u, w3) }"""


@pytest.fixture(scope="module")
def result() -> QuantizeResult:
    """One channel a thousand times the others, multiplied, then squared: 256 codes leave the others nothing."""
    w1 = np.random.default_rng(1).standard_normal((8, 3, 3, 3)).astype(np.float32)
    w1[0] *= 1000
    model = net(SQUARES, w1=w1, b1=np.zeros(8, np.float32), w2=np.eye(8, dtype=np.float32)[..., None, None], w3=(8, 8, 1, 1))
    return quantize(ir.load_bytes(model.SerializeToString()), images(8), QuantConfig(target="ort"), options=ONE_THREAD)


def test_it_is_left_in_float_with_the_reason(result: QuantizeResult) -> None:
    reasons = {skip.node: skip.reason for skip in result.report.skips}
    assert "% of its values into zero" in reasons["add:0"]
    assert "add:0" not in result.record.by_key


def test_what_only_handed_its_integers_on_is_left_too(result: QuantizeResult) -> None:
    """Nobody takes the integers of `square` any more, so nobody computes on integers there."""
    assert not {"square:0", "square:1"} & result.record.by_key.keys()


def test_layers_are_not_touched(result: QuantizeResult) -> None:
    assert {"c1", "c2", "c3"} <= result.record.by_key.keys()


@pytest.mark.parametrize(
    ("values", "share"),
    [
        ([-1.0, 0.04, -0.04, 1.0], 0.5),  # a scale of 0.1 tells nothing below 0.05 from zero
        ([0.0, 0.0, 0.04, 1.0], 0.5),  # nothing is negative: zeros are meant, one of two others vanishes
        ([-1.0, 0.0, 0.0, 0.5], 2 / 3),
        ([1.0, 0.0, 0.0, -0.5], 2 / 3),
        ([-0.04, -0.03, -0.02, 0.04, 1.0, 3.0], 1 / 3),  # behind a LeakyRelu negative values are meant to be small
        ([0.04, 0.03, 0.02, -0.04, -1.0, -3.0], 1 / 3),  # of what is negated, positive ones
        ([-0.04] * 15 + [3.0], 15 / 16),  # a single large value does not speak for the others
        ([0.0, 0.0], 0.0),
    ],
)
def test_share_of_values_that_vanish(values: list[float], share: float) -> None:
    sketch = Sketch(1)
    sketch.observe(Observation.of(np.array([values], np.float32), None), 0)
    assert vanishing_share(sketch, QParams.of(0.1, 0)) == pytest.approx(share)
