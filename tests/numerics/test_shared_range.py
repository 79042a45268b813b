"""One range for several tensors, within bounds, and for two factors of a product: worked by hand."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from amct_lite.numerics.affine import quantize, real_range
from amct_lite.numerics.shared_range import MOST_WIDENED, covering, gate_of, reaching
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


@pytest.mark.parametrize(
    ("low", "high", "wanted"),
    [
        (-3.0, 9.0, 3 / 63),  # 12 / 255 a step are 63.75 steps for 3: of 63 each is a little larger
        (-2.9, 9.0, 3 / 63),
        (-2.0, 2.0, 4 / 255),  # from -3 on it would be 5/4 as wide
        (-12.0, 9.0, 3 / 36),  # 36.4 steps
    ],
)
def test_a_range_that_reaches_far_enough_has_whole_steps(low: float, high: float, wanted: float) -> None:
    found = reaching(QParams.of((high - low) / 255, -128 - round(low / ((high - low) / 255))), 3.0)
    assert found.scale[0] == pytest.approx(wanted, rel=1e-6)
    lowest, highest = real_range(found)
    assert highest >= high - found.scale[0] / 2
    assert lowest == pytest.approx(-3.0) if -3 <= low < -2 else lowest <= low + found.scale[0] / 2


@given(scale=st.floats(0.001, 10), zero_point=st.integers(-128, 127), reach=st.floats(0.1, 20))
def test_behind_a_clip_there_it_begins_at_its_bound_and_not_below_by_a_rounding(
    scale: float, zero_point: int, reach: float
) -> None:
    """ONNX Runtime leaves out a Clip at -reach if no code lies below, which it compares in float32."""
    bounded = covering([QParams.of(scale, zero_point)], SPEC, (-reach, inf))
    found = reaching(bounded, reach)
    assert found.scale[0] <= MOST_WIDENED * bounded.scale[0]
    assert real_range(found)[1] >= real_range(bounded)[1] - bounded.scale[0]
    if found != bounded:
        assert real_range(found)[0] == pytest.approx(-reach)
        assert np.float32(-128 - found.zero_point[0]) * found.scales[0] >= -np.float32(reach)


@given(low=st.floats(0.1, 12), high=st.floats(0.1, 12), alpha=st.floats(0.1, 0.5), beta=st.floats(0.2, 0.8))
@example(low=8.375, high=6.75, alpha=0.1, beta=0.8)
def test_one_code_stands_for_a_number_and_for_its_hard_sigmoid(low: float, high: float, alpha: float, beta: float) -> None:
    """Of every code, rounding the HardSigmoid of its number gives the same code, kept within those of 0 and 1."""
    spread = (low + high) / 255
    reach = beta / alpha
    before = QParams.of(spread, -128 + round(low / spread))
    data = reaching(before, reach)
    assume(data != before)
    found = gate_of(data, alpha, reach)
    assert found is not None
    codes = np.arange(-128, 128)
    numbers = (codes - data.zero_point[0]) * np.float64(data.scale[0])
    gate = quantize(np.clip(alpha * numbers + beta, 0, 1), found)
    one = quantize(np.ones(1), found).item()  # may lie in the middle between two codes
    assert (gate == np.clip(codes, found.zero_point[0], one)).all()


def test_where_the_lowest_code_would_be_below_all_there_is_none() -> None:
    assert gate_of(QParams.of(0.1, -110), 1 / 6, 3.0) is None  # 30 steps below it
    assert gate_of(QParams.of(0.1, -98), 1 / 6, 3.0) == QParams.of(0.1 / 6, -128)
    assert gate_of(QParams.of(0.11, -90), 1 / 6, 3.0) is None, "27.3 steps are none of a code"
