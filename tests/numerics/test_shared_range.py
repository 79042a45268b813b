"""One range for several tensors, within bounds: worked by hand."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amct_lite.numerics.shared_range import covering
from amct_lite.types import QParams, QuantSpec

SPEC = QuantSpec()
UNIT = QParams.of(1 / 256, -128)  # [0, 255/256]


def test_one_range_within_its_bounds_stays_as_it_is() -> None:
    assert covering([UNIT], SPEC) is UNIT
    assert covering([UNIT], SPEC, (0.0, 6.0)) is UNIT


def test_the_widest_of_several_ranges_wins_on_both_sides() -> None:
    """[-1.28, 1.27] and [0, 5.1]: together [-1.28, 5.1], 6.38 / 255 a step."""
    found = covering([QParams.of(0.01, 0), QParams.of(0.02, -128)], SPEC)
    assert found.scale[0] == pytest.approx(6.38 / 255, rel=1e-6)
    assert found.zero_point == (-77,)  # -128 + round(1.28 / 0.02502)


@given(scale=st.floats(0.001, 10), zero_point=st.integers(-128, 126), high=st.floats(0.05, 100))
def test_no_code_stands_for_more_than_the_bound(scale: float, zero_point: int, high: float) -> None:
    """So that ONNX Runtime can leave the Clip out: it compares in float32."""
    found = covering([QParams.of(scale, zero_point)], SPEC, (-inf, high))
    assert np.float32(127 - found.zero_point[0]) * found.scales[0] <= np.float32(high)


def test_a_relu_puts_zero_at_the_lowest_code() -> None:
    assert covering([QParams.of(0.01, 0)], SPEC, (0.0, inf)).zero_point == (-128,)


@pytest.mark.parametrize("bounds", [(1.0, 3.0), (-3.0, -1.0)])
def test_bounds_on_one_side_of_zero_leave_a_range_that_holds_it(bounds: tuple[float, float]) -> None:
    """All values are the bound itself, and the range that was found ends a rounding before it."""
    end = 0.9999997 if bounds[0] > 0 else -0.9999997
    found = covering([QParams.of(abs(end) / 255, -128 if end > 0 else 127)], SPEC, bounds)
    assert found.scale[0] == pytest.approx(1 / 255, rel=1e-6)
    assert found.zero_point == (-128 if end > 0 else 127,)
