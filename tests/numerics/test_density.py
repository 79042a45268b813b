"""The points that stand for strata: how many there are, and what they weigh."""

from __future__ import annotations

import numpy as np
import pytest

from amct_lite.numerics.density import MOST_POINTS, weighted_points
from amct_lite.numerics.stratum import Stratum, exponents_of

NONE = np.empty(0, np.float32)


def stratum_of(values: np.ndarray) -> Stratum:
    """One sample."""
    sample = values.astype(np.float32).reshape(1, -1)
    low, high, mean = sample.min(keepdims=True), sample.max(keepdims=True), sample.mean(keepdims=True, dtype=np.float64)
    (exponent,) = exponents_of(np.abs(sample).max(axis=1))
    stratum = Stratum.empty(exponent, 1)
    stratum.observe(sample, sample.size, low=low, high=high, mean=mean.astype(np.float32))
    return stratum


def test_few_bins_are_spread_over_eight_points_each_and_zero_is_one_place() -> None:
    values = np.concatenate([np.linspace(0.5, 0.52, 20_000), np.zeros(20_000)])
    stratum = stratum_of(values)
    assert stratum.histogram is not None
    x, w = weighted_points([stratum], NONE)
    assert len(x) == 8 * np.count_nonzero(stratum.histogram)
    assert w[x == 0].sum() == pytest.approx(20_000)
    assert w.sum() == pytest.approx(40_000)
    assert (x @ w) / w.sum() == pytest.approx(values.mean(), rel=1e-4)  # a bin is 1/4096 of the largest value


def test_many_bins_have_so_few_points_that_their_number_stays_bounded() -> None:
    strata = [stratum_of(np.linspace(-scale, scale, 100_000)) for scale in (1.0, 2.0, 4.0)]
    occupied = sum(np.count_nonzero(stratum.histogram) for stratum in strata if stratum.histogram is not None)
    assert occupied > MOST_POINTS / 2  # two points for each would be too many
    x, w = weighted_points(strata, NONE)
    assert len(x) == occupied
    assert (np.diff(x) >= 0).all()
    assert w.sum() == pytest.approx(300_000)
