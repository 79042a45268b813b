"""What a sketch keeps, that it merges exactly, and what it answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from amct_lite.errors import CalibrationError, NumericsError
from amct_lite.numerics.sketch import Observation, Outlier, Sketch
from amct_lite.numerics.stratum import bin_width, count_bins
from amct_lite.types import AnyArray

CHANNELS = 2


def sketch_of(array: AnyArray, first_sample: int = 0, channel_axis: int | None = 1) -> Sketch:
    observation = Observation.of(array, channel_axis)
    sketch = Sketch(observation.low.shape[1])
    sketch.observe(observation, first_sample)
    return sketch


def noise(samples: int, values: int, seed: int = 0) -> NDArray[np.float32]:
    """(samples, 2, values / 2) of very different magnitudes, one sample all zero."""
    rng = np.random.default_rng(seed)
    magnitudes = 10.0 ** rng.integers(-2, 2, size=(samples, 1, 1))
    magnitudes[samples // 2] = 0
    return (rng.normal(size=(samples, CHANNELS, values // 2)) * magnitudes).astype(np.float32)


@st.composite
def samples_cut_in_three(draw: st.DrawFn) -> list[AnyArray]:
    values = draw(st.sampled_from([2, 10, 6000]))  # 6000: some strata fold, some do not
    array = noise(draw(st.integers(3, 16)), values, seed=draw(st.integers(0, 1000)))
    cuts = sorted(draw(st.lists(st.integers(0, len(array)), min_size=2, max_size=2)))
    return np.split(array, cuts)


@settings(max_examples=25, deadline=None)
@given(samples_cut_in_three())
def test_merge_is_associative_commutative_and_independent_of_batches(parts: list[AnyArray]) -> None:
    firsts = np.cumsum([0, *(len(part) for part in parts)]).tolist()
    a, b, c = (sketch_of(part, first) for part, first in zip(parts, firsts, strict=False))
    whole = sketch_of(np.concatenate(parts))
    assert a.merge(b).merge(c) == a.merge(b.merge(c)) == c.merge(a).merge(b) == whole
    # The bytes as well, not just the values: saved sketches are reproducible.
    arrays, merged = whole.to_arrays(), c.merge(b).merge(a).to_arrays()
    assert {name: array.tobytes() for name, array in arrays.items()} == {n: x.tobytes() for n, x in merged.items()}


def test_merge_leaves_its_operands_alone() -> None:
    a, b = sketch_of(noise(4, 20)), sketch_of(noise(4, 20, seed=1), 4)
    before = a.to_arrays(), b.to_arrays()
    a.merge(b).observe(Observation.of(noise(2, 40000), 1), 8)
    assert (a, b) == tuple(Sketch.from_arrays(arrays) for arrays in before)


@settings(max_examples=20, deadline=None)
@given(st.sampled_from([2, 5000]), st.integers(0, 100))
def test_a_sketch_made_from_its_arrays_goes_on_like_the_original(values: int, seed: int) -> None:
    sketch = sketch_of(noise(12, values, seed))
    again = Sketch.from_arrays(sketch.to_arrays())
    assert again == sketch
    for each in (again, sketch):  # and it goes on collecting like the original
        each.observe(Observation.of(noise(3, 20000, seed), 1), 12)
    assert again == sketch


def test_from_arrays_refuses_what_does_not_fit() -> None:
    arrays = sketch_of(noise(4, 20)).to_arrays()
    with pytest.raises(CalibrationError, match=r"damaged: 'weights'.* Calibrate again"):
        Sketch.from_arrays({name: array for name, array in arrays.items() if name != "weights"})
    with pytest.raises(CalibrationError, match="damaged: values has shape"):
        Sketch.from_arrays(arrays | {"values": arrays["values"][1:]})
    with pytest.raises(CalibrationError, match="damaged"):
        Sketch.from_arrays(arrays | {"sample_low": arrays["sample_low"][1:]})
    ends = {name: np.resize(arrays[name], 5) for name in ("sample_index", "sample_low", "sample_high")}
    with pytest.raises(CalibrationError, match="damaged: there are 5 extremes of 4 samples"):
        Sketch.from_arrays(arrays | ends)


def test_different_content_is_not_equal() -> None:
    assert sketch_of(np.ones((2, 2))) != sketch_of(np.ones((3, 2)))
    assert sketch_of(np.ones((2, 2))) != sketch_of(np.ones((2, 2)), first_sample=1)
    assert Sketch(1) != Sketch(2)
    assert Sketch(1) != "a sketch"


def test_folding_keeps_counts_and_extremes() -> None:
    array = np.random.default_rng(1).uniform(1, 2, size=(10, 2, 5000)).astype(np.float32)
    sketch = sketch_of(array)
    _, weights = sketch.points()
    assert not sketch.is_exact
    assert sketch.count == array.size
    assert weights.sum() == pytest.approx(array.size)
    assert (sketch.low, sketch.high) == (array.min(), array.max())
    assert sketch.histogram(np.array([1.0, 1.5, 2.0])).sum() == pytest.approx(array.size)


def test_a_histogram_of_several_channels_reaches_as_far_as_the_farthest() -> None:
    one = np.linspace(0.5, 1, 20_000, dtype=np.float32)
    sketch = sketch_of(np.stack([one, -one])[None])
    x, w = sketch.points()
    assert not sketch.is_exact
    assert (x[0], x[-1]) == pytest.approx((-1, 1), abs=sketch.resolution)
    assert w[x < 0].sum() == pytest.approx(w[x > 0].sum())
    assert sketch.histogram(np.array([-2.0, 0, 2])).tolist() == pytest.approx([20_000, 20_000])


def test_the_resolution_is_that_of_the_largest_values() -> None:
    small = np.random.default_rng(0).uniform(-1, 1, (1, 40_000)).astype(np.float32)
    sketch = sketch_of(np.concatenate([small, 16 * small]), channel_axis=None)
    assert sketch.resolution == sketch_of(16 * small, channel_axis=None).resolution == 16 * 2.0**-12
    assert sketch_of(small[:, :10], channel_axis=None).resolution == 0


def test_few_values_stay_exact() -> None:
    array = noise(5, 100)
    x, w = sketch_of(array).points()
    assert (x == np.sort(array.reshape(-1))).all()
    assert (w == 1).all()


def test_points_of_a_histogram_are_few_within_the_extremes_and_keep_zero() -> None:
    array = np.maximum(noise(40, 40000), 0)
    sketch = sketch_of(array)
    x, w = sketch.points()
    assert x.size <= 20_000
    assert (np.diff(x) >= 0).all()
    assert (sketch.low, sketch.high) == (array.min(), array.max())
    assert sketch.low <= x[0]
    assert x[-1] <= sketch.high
    # Values within half a bin of zero count as zero: here up to 3 % of the positive ones, small samples having fine
    # bins.
    assert w[x == 0].sum() / w.sum() == pytest.approx((array == 0).mean(), abs=0.01)
    assert (w @ x) / w.sum() == pytest.approx(array.mean(), rel=1e-3)  # bins are 2^-12 of the magnitude


def test_a_choice_of_values_stands_for_all() -> None:
    rng = np.random.default_rng(0)
    full = rng.normal(size=(4, 2, 3000)).astype(np.float32)
    seen = Observation.of(full, 1)
    sketch = Sketch(2)
    sketch.observe(replace(seen, values=seen.values[:, ::3]), 0)
    x, w = sketch.points()
    assert sketch.count == full.size
    assert w.sum() == pytest.approx(full.size + 2 * len(full))  # the extremes of each sample are counted once more
    assert (sketch.low, sketch.high) == (full.min(), full.max())
    assert np.sqrt(w @ x**2 / w.sum()) == pytest.approx(1, rel=0.05)  # 8000 of 24000 values: 1 % standard error


@pytest.mark.parametrize("large_first", [False, True])
def test_samples_weigh_by_their_size_not_by_what_was_seen(large_first: bool) -> None:
    low, high = np.full((1, 1), 1, dtype=np.float32), np.full((1, 1), 1.5, dtype=np.float32)
    seen = [Observation(low.repeat(10, axis=1), 10, low, low, low), Observation(high.repeat(10, axis=1), 300, high, high, high)]
    sketch = Sketch(1)
    for number, observation in enumerate(seen[::-1] if large_first else seen):
        sketch.observe(observation, number)
    x, w = sketch.points()
    assert w[x == 1.5].sum() == pytest.approx(300 + 2)  # the extremes of a sample are counted once more
    assert w[x == 1].sum() == pytest.approx(10 + 2)
    assert sketch.channel_mean[0] == pytest.approx((10 + 450) / 310)


def test_extremes_of_channels_are_exact_and_means_close() -> None:
    array = noise(9, 20)
    sketch = sketch_of(array)
    assert (sketch.channel_low == array.min(axis=(0, 2))).all()
    assert (sketch.channel_high == array.max(axis=(0, 2))).all()
    # Means are kept to 2^-24 of each sample's magnitude.
    np.testing.assert_allclose(sketch.channel_mean, array.mean(axis=(0, 2)), atol=1e-6 * np.abs(array).max())


@pytest.mark.parametrize("values", [100, 20000])
def test_kth_values_are_exact_or_within_a_bin(values: int) -> None:
    array = np.random.default_rng(0).permutation(np.arange(1, 4 * values + 1)).astype(np.float32).reshape(4, values)
    sketch = sketch_of(array, channel_axis=None)
    # Exact at the ends; inside, a histogram knows a value to a bin: 2^-11 of the largest.
    for k in (1, 2, 7, 2 * values):
        allowed = 0 if k == 1 or sketch.is_exact else 4 * values / 2048
        assert sketch.kth_smallest(k) == pytest.approx(k, abs=allowed)
        assert sketch.kth_largest(k) == pytest.approx(4 * values + 1 - k, abs=allowed)


@pytest.mark.parametrize("values", [100, 20000])
def test_histogram_counts_values_between_edges(values: int) -> None:
    array = np.maximum(np.random.default_rng(0).normal(size=(8, values)), 0).astype(np.float32)
    edges = np.linspace(0, float(array.max()), 11)
    expected, _ = np.histogram(array, edges)
    counts = sketch_of(array, channel_axis=None).histogram(edges)
    # Exact values are counted; a histogram's bins are shared between edges, by a thousandth of all values at most.
    np.testing.assert_allclose(counts, expected, atol=0 if values == 100 else array.size / 1000)


def test_one_wild_sample_of_eight_is_dropped_and_named() -> None:
    array = np.random.default_rng(0).normal(size=(8, 2, 50)).astype(np.float32)
    array[5] *= 1e4
    kept, outliers = sketch_of(array, first_sample=100).robust()
    rest = np.delete(array, 5, axis=0)
    assert [outlier.sample for outlier in outliers] == [105]
    assert outliers[0].magnitude == np.abs(array[5]).max()
    assert outliers[0].typical == pytest.approx(np.median(np.abs(array).max(axis=(1, 2))))
    assert (kept.low, kept.high, kept.samples) == (rest.min(), rest.max(), 7)
    np.testing.assert_allclose(kept.channel_mean, rest.mean(axis=(0, 2)), atol=1e-6)  # 2^-24 of the magnitude


@pytest.mark.parametrize(
    ("samples", "wild", "dropped"),
    [(3, 1, 0), (4, 1, 1), (8, 2, 0), (16, 2, 2), (16, 3, 0)],
)
def test_only_a_few_of_enough_samples_are_dropped(samples: int, wild: int, dropped: int) -> None:
    array = np.ones((samples, 2), dtype=np.float32)
    array[:wild] = 100
    _, outliers = sketch_of(array).robust()
    assert len(outliers) == dropped


@pytest.mark.parametrize(("factor", "dropped"), [(32, 0), (64, 1)])
def test_wild_begins_above_32_times_the_median(factor: int, dropped: int) -> None:
    array = np.ones((8, 2), dtype=np.float32)
    array[0] = factor
    _, outliers = sketch_of(array).robust()
    assert outliers == (Outlier(0, factor, 1.0),) * dropped


def test_all_zero_samples_make_no_sample_wild() -> None:
    array = np.zeros((40, 2), dtype=np.float32)
    array[:5] = 1  # few enough to be left out
    sketch = sketch_of(array)
    assert sketch.robust() == (sketch, ())


def test_nan_is_refused_with_the_number_of_its_sample() -> None:
    array = np.ones((2, 3), dtype=np.float32)
    array[1, 2] = np.nan
    with pytest.raises(NumericsError, match="sample 8 has NaN"):
        sketch_of(array, first_sample=7)


def test_values_beyond_the_extremes_are_refused() -> None:
    seen = Observation.of(np.ones((1, 40000)), None)
    for wrong in (100, -100):
        sketch = Sketch(1)
        with pytest.raises(NumericsError, match="outside its sample's extremes"):
            sketch.observe(replace(seen, values=seen.values * wrong), 0)


def test_channels_must_agree() -> None:
    with pytest.raises(CalibrationError, match="statistics of 3 channels do not fit a tensor that had 2"):
        Sketch(2).observe(Observation.of(np.ones((1, 3)), 1), 0)
    with pytest.raises(CalibrationError, match="statistics of 3 channels"):
        Sketch(2).merge(Sketch(3))


def test_empty_sketch_says_so() -> None:
    sketch = Sketch(1)
    sketch.observe(Observation.of(np.zeros((2, 0)), None), 0)
    assert (sketch.count, sketch.samples) == (0, 0)
    assert Sketch.from_arrays(sketch.to_arrays()) == sketch == sketch.merge(Sketch(1))
    with pytest.raises(CalibrationError, match="no values were observed"):
        _ = sketch.low
    with pytest.raises(CalibrationError, match="no values were observed"):
        sketch.points()


def test_huge_and_tiny_magnitudes_fold() -> None:
    for magnitude in (3e38, 1e-44, 2.0**-100):
        array = np.full((1, 1, 40000), magnitude, dtype=np.float32)
        sketch = sketch_of(array)
        assert sketch.high == array.max()
        assert sketch.count == 40000


@pytest.mark.parametrize("exponent", [-126, -3, 0, 17, 128])
def test_values_are_binned_in_float32_as_exactly_as_a_bin_can_tell(exponent: int) -> None:
    """Scaling by a power of two is exact, adding 4096.5 rounds by at most 2^-11 of a bin: only what lies that near to an edge
    may go to the neighbour."""
    end = np.nextafter(np.float32(4096), np.float32(0))
    edges = np.arange(-4095, 4096, 97, dtype=np.float32) + np.float32(0.5)
    beside = [np.nextafter(edges, np.float32(side)) for side in (-5000, 5000)]
    spread = np.random.default_rng(0).uniform(-4096, 4096, 300).astype(np.float32)
    steps = np.clip(np.concatenate([edges, *beside, edges - 2e-3, edges + 2e-3, spread, [0.0, -0.0, end, -end]]), -end, end)
    values = (steps.astype(np.float64) * bin_width(exponent)).astype(np.float32)
    got = np.array([np.flatnonzero(count_bins(value[None], exponent)).item() for value in values])
    exact = steps.astype(np.float64) + 4096.5
    to_edge = np.abs(exact - np.rint(exact))
    assert ((got == np.floor(exact)) | (to_edge <= 2.0**-11)).all()
    assert (np.abs(got + 0.5 - exact) <= 0.5 + 2.0**-11).all()


@pytest.mark.parametrize("sign", [1, -1])
def test_one_large_value_in_each_sample_is_known_although_few_are_looked_at(sign: int) -> None:
    """Of 30,000 values of a sample few are looked at, and never that one here; the samples' extremes tell of it."""
    array = sign * np.random.default_rng(0).uniform(0, 1, (40, 30_000)).astype(np.float32)
    array[:, 7] = sign * (20 + 0.01 * np.arange(40))
    sketch = Sketch(1)
    sketch.observe(replace(Observation.of(array, None), values=np.ascontiguousarray(array[:, ::100])), 0)
    kth = sketch.kth_largest if sign > 0 else sketch.kth_smallest
    assert [kth(k) for k in (1, 2, 40)] == pytest.approx([sign * 20.39, sign * 20.38, sign * 20.0], rel=1e-6)  # float32
    assert abs(kth(41)) <= 1.01  # within a bin
    x, w = sketch.points()
    assert w[np.abs(x) > 2].tolist() == [1] * 40
    assert sketch.histogram(np.array([-30.0, -2, 2, 30]))[[0, 2]].sum() == 40
