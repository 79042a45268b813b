"""A PRelu is the larger or smaller one of two numbers."""

from __future__ import annotations

import numpy as np
import pytest
from small_nets import ONE_THREAD, images, kernels, net, require_equal

from amct_lite import ir
from amct_lite.config import QuantConfig
from amct_lite.pipeline import quantize

BETWEEN = """net (float[1,3,16,16] x) => (float[1,8,16,16] y) {
  [first] a = Conv <pads = [1,1,1,1]> (x, w) [bent] b = PRelu (a, slope) [last] y = Conv (b, v) }"""


@pytest.mark.parametrize(
    ("slope", "found"),
    [
        (np.linspace(-0.5, 1, 8, dtype=np.float32).reshape(8, 1, 1), ("Max", "Mul")),
        (np.float32(0.25), ("Max", "Mul")),
        (np.linspace(-0.5, 1.5, 8, dtype=np.float32).reshape(8, 1, 1), ("Max", "Min", "Mul")),
        (np.linspace(1, 1.5, 8, dtype=np.float32).reshape(8, 1, 1), ("Min", "Mul")),
        (np.ones((8, 1, 1), np.float32), ("PRelu",)),
    ],
    ids=["a slope a channel", "one slope", "some above 1", "all above 1", "all of 1"],
)
def test_a_prelu_is_the_larger_or_smaller_one_of_two_numbers(slope: np.ndarray, found: tuple[str, ...]) -> None:
    model = ir.load_bytes(net(BETWEEN, w=(8, 3, 3, 3), v=(8, 8, 1, 1), slope=slope).SerializeToString())
    data = images(8)
    result = quantize(model, data, QuantConfig(target="ort"), options=ONE_THREAD)
    assert {name for name in ("Max", "Min", "Mul", "PRelu") if kernels(result)[name]} == set(found)
    require_equal(result.exports, data[:2])
