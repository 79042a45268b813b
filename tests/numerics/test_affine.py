"""The affine map and the min/max rule; numbers worked by hand from the AMCT contract, section 5."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amct_lite.errors import NumericsError
from amct_lite.numerics.affine import dequantize, fake_quantize, qparams_from_range, quantize
from amct_lite.types import QParams, QuantSpec

SYMMETRIC = QuantSpec(8, symmetric=True)
ASYMMETRIC = QuantSpec(8)


@pytest.mark.parametrize(
    ("low", "high", "spec", "scale", "zero_point"),
    [
        (-1.0, 127.0, SYMMETRIC, 1.0, 0),  # the upper side is larger: 127 steps
        (-128.0, 1.0, SYMMETRIC, 1.0, 0),  # the lower side is larger: 128 steps
        (-127.0, 127.0, SYMMETRIC, 1.0, 0),  # equal sides: the upper rule
        (-5.0, -1.0, SYMMETRIC, 5 / 128, 0),
        (0.0, 255.0, ASYMMETRIC, 1.0, -128),
        (-128.0, 127.0, ASYMMETRIC, 1.0, 0),
        (51.0, 255.0, ASYMMETRIC, 1.0, -128),  # widened to hold 0
        (-255.0, -3.0, ASYMMETRIC, 1.0, 127),
        (-2.5, 252.5, ASYMMETRIC, 1.0, -126),  # round(-2.5) is -2: half to even
        (0.0, 0.0, ASYMMETRIC, 1.0, -128),
        (0.0, 0.0, SYMMETRIC, 1.0, 0),
        (0.0, 255 * 1.1e-7, ASYMMETRIC, 1.0, -128),  # just below the smallest scale
        (0.0, 65535.0, QuantSpec(16), 1.0, -32768),
        (-8.0, 7.0, QuantSpec(4), 1.0, 0),
    ],
)
def test_scale_and_zero_point_follow_the_min_max_rule(
    low: float, high: float, spec: QuantSpec, scale: float, zero_point: int
) -> None:
    assert qparams_from_range(low, high, spec) == QParams.of(scale, zero_point, spec.bits)


def test_scale_at_the_smallest_is_kept() -> None:
    params = qparams_from_range(0, 255 * 1.3e-7, ASYMMETRIC)
    assert params.scale[0] == pytest.approx(1.3e-7, rel=1e-6)  # float32 rounding


def test_min_max_rule_holds_per_channel() -> None:
    params = qparams_from_range(np.array([-1.0, 0.0]), np.array([127.0, 0.0]), SYMMETRIC)
    assert params.scale == (1.0, 1.0)
    assert params.zero_point == (0, 0)


@pytest.mark.parametrize(
    ("low", "high", "why"),
    [(0.0, np.nan, "not finite"), (-np.inf, 0.0, "not finite"), (1.0, 0.0, "is empty")],
)
def test_bad_range_is_refused(low: float, high: float, why: str) -> None:
    with pytest.raises(NumericsError, match=why):
        qparams_from_range(low, high, ASYMMETRIC)


def test_a_range_wider_than_float32_has_a_scale() -> None:
    params = qparams_from_range(np.float32(-3e38), np.float32(3e38), ASYMMETRIC)
    assert params.scale[0] == pytest.approx(6e38 / 255, rel=1e-6)


def test_bad_range_names_its_channel() -> None:
    with pytest.raises(NumericsError, match="of channel 2 is not finite"):
        qparams_from_range(np.zeros(3), np.array([1, 1, np.nan]), ASYMMETRIC)


def test_quantize_rounds_half_to_even_and_saturates() -> None:
    params = QParams.of(2.0, 1)
    x = np.array([1, 3, 5, -1, 1000, -1000, np.inf], dtype=np.float32)
    assert quantize(x, params).tolist() == [1, 3, 3, 1, 127, -128, 127]
    assert quantize(x, params).dtype == np.int8
    assert quantize(x, QParams.of(2.0, 1, bits=16)).dtype == np.int16


def test_a_quotient_beyond_float32_saturates_without_a_warning() -> None:
    assert quantize(np.array([3e38, -3e38], dtype=np.float32), QParams.of(1e-3, 0)).tolist() == [127, -128]


def test_an_empty_array_has_no_codes() -> None:
    assert quantize(np.empty((0, 2), dtype=np.float32), QParams.of(np.ones(2), 0), axis=1).shape == (0, 2)


def test_quantize_along_an_axis() -> None:
    params = QParams.of(np.array([1.0, 10.0]), 0)
    x = np.array([[10.0, 10.0], [20.0, 20.0]])
    assert quantize(x, params, axis=1).tolist() == [[10, 1], [20, 2]]
    assert quantize(x, params, axis=0).tolist() == [[10, 10], [2, 2]]
    assert fake_quantize(x, params, axis=-1).tolist() == x.tolist()


def test_quantize_refuses_nan() -> None:
    with pytest.raises(NumericsError, match="NaN"):
        quantize(np.array([np.nan]), QParams.of(1.0, 0))


@pytest.mark.parametrize("axis", [None, 0])
def test_channels_that_do_not_fit_are_refused(axis: int | None) -> None:
    with pytest.raises(NumericsError, match=r"2 scales do not fit axis .* of an array of shape \(3, 2\)"):
        quantize(np.zeros((3, 2)), QParams.of(np.ones(2), 0), axis)


FLOATS = st.floats(-1e6, 1e6, width=32)


@given(
    values=st.lists(FLOATS, min_size=1, max_size=40),
    bits=st.integers(4, 16),
    symmetric=st.booleans(),
)
def test_error_inside_the_range_is_at_most_half_a_step(values: list[float], bits: int, symmetric: bool) -> None:
    x = np.array(values, dtype=np.float32)
    params = qparams_from_range(float(x.min()), float(x.max()), QuantSpec(bits, symmetric))
    spec, scale = QuantSpec(bits, symmetric), params.scale[0]
    # Inside the range is what the codes reach: a rounded zero point, or the missing code above zero of a symmetric grid,
    # may end the grid before a bound. Besides: float32 rounding of the quotient and of the product, relative to the value.
    ends = [(code - params.zero_point[0]) * scale for code in (spec.qmin, spec.qmax)]
    inside = x[(x >= ends[0]) & (x <= ends[1])]
    slack = scale * 0.5 + 4e-7 * np.abs(inside).astype(np.float64)
    assert (np.abs(fake_quantize(inside, params) - inside.astype(np.float64)) <= slack).all()


@given(st.integers(4, 16), st.integers(-8, 7), st.floats(1e-6, 1e6))
def test_integers_survive_a_round_trip(bits: int, zero_point: int, scale: float) -> None:
    params = QParams.of(scale, zero_point, bits)
    q = np.arange(-(1 << (bits - 1)), 1 << (bits - 1))
    assert (quantize(dequantize(q, params), params) == q).all()


def test_zero_is_exact() -> None:
    params = qparams_from_range(-1.7, 3.3, ASYMMETRIC)
    assert fake_quantize(np.zeros(1), params)[0] == 0
