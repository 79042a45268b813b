"""Per-sample, per-channel statistics of a full array."""

from __future__ import annotations

import numpy as np
import pytest

from amct_lite.errors import NumericsError
from amct_lite.numerics.observation import Observation


@pytest.mark.parametrize("axis", [1, 2, -1])
def test_statistics_of_each_sample_and_channel(axis: int) -> None:
    array = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    seen = Observation.of(array, axis)
    rest = tuple({1, 2} - {axis % 3})
    assert seen.count == 12
    assert (seen.values == array.reshape(2, 12)).all()
    assert (seen.low == array.min(axis=rest)).all()
    assert (seen.high == array.max(axis=rest)).all()
    np.testing.assert_allclose(seen.mean, array.mean(axis=rest), rtol=1e-5)  # float32 sums against float64 sums


@pytest.mark.parametrize("shape", [(2, 3), (4,)])
def test_without_a_channel_axis_there_is_one_channel(shape: tuple[int, ...]) -> None:
    assert Observation.of(np.ones(shape), None).low.shape == (shape[0], 1)


def test_an_empty_array_has_no_values() -> None:
    seen = Observation.of(np.zeros((2, 3, 0)), 1)
    assert (seen.count, seen.values.shape, seen.low.shape) == (0, (2, 0), (2, 3))


@pytest.mark.parametrize(
    ("value", "what"), [(np.nan, "NaN"), (np.inf, "infinite"), (-np.inf, "infinite"), ((np.inf, -np.inf), "infinite")]
)
def test_the_bad_sample_is_named(value: float | tuple[float, float], what: str) -> None:
    array = np.ones((3, 2, 2), dtype=np.float32)
    array[1, 1] = value
    with pytest.raises(NumericsError, match=f"sample 11 has {what}"):
        Observation.of(array, 1).check(10)


def test_nan_that_extremes_hide_is_found_in_the_mean() -> None:
    clean = np.zeros((1, 1), dtype=np.float32)
    hidden = Observation(np.zeros((1, 2), dtype=np.float32), 4, clean, clean, np.full((1, 1), np.nan, dtype=np.float32))
    with pytest.raises(NumericsError, match="sample 0 has NaN"):
        hidden.check(0)
