"""The loss of a range, worked by hand."""

import numpy as np
import pytest

from amct_lite.numerics.range_search import clipped_error

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
