"""The loss of a range, worked by hand."""

from collections.abc import Iterator

import numpy as np
import pytest

from amct_lite.numerics.range_search import clipped_error, estimated_errors, least_clipped_error
from amct_lite.types import DoubleArray

X, W = np.array([-1.0, 0.0, 0.3, 1.0, 3.0]), np.array([1.0, 5.0, 2.0, 1.0, 2.0])


def test_values_are_clipped_and_rounded() -> None:
    # -1 -> -0.5, 0 -> 0, 0.3 -> 0.5, 1 -> 1, 3 -> 2
    assert clipped_error(X, W, -0.5, 2.0, scale=0.5) == pytest.approx(1 * 0.25 + 2 * 0.04 + 2 * 1.0)


def test_points_coarser_than_the_grid_err_by_its_noise_but_for_zeros() -> None:
    # inside: 0.3 and 1, three values; zeros are exact; -1 and 3 are clipped
    expected = 3 * 0.01**2 / 12 + 1 * 0.25 + 2 * 1.0
    assert clipped_error(X, W, -0.5, 2.0, scale=0.01, resolution=0.1) == pytest.approx(expected)


def test_a_grid_coarser_than_the_points_is_rounded_to() -> None:
    exact = clipped_error(X, W, -0.5, 2.0, scale=0.5)
    assert clipped_error(X, W, -0.5, 2.0, scale=0.5, resolution=0.5) == exact


def _distributions() -> Iterator[tuple[DoubleArray, DoubleArray]]:
    """Normal, with heavy tails, of integers (which some grids hold exactly), of zeros and positive ones, of tiny ones."""
    rng = np.random.default_rng(5)
    for values in (
        rng.normal(size=3000),
        rng.standard_cauchy(2000),
        rng.integers(-9, 10, 500),
        np.maximum(rng.normal(size=1000), 0),
        rng.laplace(size=1500) * 1e-30,
    ):
        x = np.sort(values.astype(np.float32)).astype(np.float64)
        yield x, rng.integers(1, 1000, x.size).astype(np.float64)


@pytest.mark.parametrize("bits", [4, 8, 16])
@pytest.mark.parametrize("symmetric", [False, True])
def test_the_least_error_is_that_of_looking_at_each_range(bits: int, symmetric: bool) -> None:
    for x, w in _distributions():
        highs = x[-1] * np.arange(0.7, 1.3, 0.01)
        lows = -highs if symmetric else np.full_like(highs, min(x[0], 0.0))
        scales = (highs - lows) / (2**bits - 1)
        tried = zip(lows.tolist(), highs.tolist(), scales.tolist(), strict=True)
        errors = [clipped_error(x, w, low, high, scale=scale) for low, high, scale in tried]
        assert least_clipped_error(x, w, lows, highs, scales) == int(np.argmin(errors))


def test_errors_that_one_far_value_makes_equal_are_so() -> None:
    """Its square, which all ranges share, is 2^70 times what they differ by: more than a float64 tells apart."""
    x, w = np.array([-1.0, 0.0, 1.0, 1e21]), np.ones(4)
    highs = np.arange(0.7, 1.3, 0.01)
    assert least_clipped_error(x, w, np.full_like(highs, -1.0), highs, (highs + 1) / 255) == 0


def test_of_equal_errors_the_first_is_taken() -> None:
    x, w = np.array([-1.0, 0.0, 1.0]), np.ones(3)
    same = np.array([1.0, 0.5, 0.25])
    assert least_clipped_error(x, w, np.full(3, -1.0), np.full(3, 1.0), same) == 0
    assert least_clipped_error(x, w, np.full(3, -1.0), np.full(3, 1.0), np.array([0.75, 0.5, 0.25])) == 1


def test_estimates_are_off_by_less_than_they_say() -> None:
    for x, w in _distributions():
        highs = x[-1] * np.arange(0.7, 1.3, 0.01)
        lows = np.full_like(highs, min(x[0], 0.0))
        scales = (highs - lows) / 255
        estimates, slack = estimated_errors(x, w, lows, highs, scales)
        tried = zip(lows.tolist(), highs.tolist(), scales.tolist(), strict=True)
        errors = np.array([clipped_error(x, w, low, high, scale=scale) for low, high, scale in tried])
        assert np.ptp(estimates + np.dot(w, x * x) - errors) <= slack < 1e-3 * errors.min() + np.dot(w, x * x) * 1e-9
