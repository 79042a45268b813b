"""Statistics of one activation tensor that merge: collected batch by batch, on any machine, in bounded memory.

A sketch is a set of strata (samples of one order of magnitude each, see `stratum`) and the extremes of single samples by
their numbers (see `extremes`). What it holds is a function of the multiset of samples alone, so `merge` is exactly
associative and commutative, and neither batch size nor order changes a decision. Because wild samples lie in strata of
their own, they can be taken out again.

A sketch knows no tensor names and no quantization; observers read it through `count`, `low`, `high`, `points`,
`resolution`, `histogram`, `kth_largest` and `kth_smallest`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from amct_lite.errors import CalibrationError, NumericsError
from amct_lite.numerics.density import MOST_POINTS, counts_between, thinned, weighted_points
from amct_lite.numerics.extremes import Extremes
from amct_lite.numerics.observation import Observation
from amct_lite.numerics.sketch_arrays import strata_from_arrays, strata_to_arrays
from amct_lite.numerics.stratum import EXACT_VALUES, ZERO_EXPONENT, Stratum, bin_width, exponents_of
from amct_lite.types import AnyArray, DoubleArray, FloatArray

__all__ = ["Observation", "Outlier", "Sketch"]

# A sample is wild when it is at least 2^5 times the median sample, and when few are: one in eight, of four or more.
_WILD_EXPONENTS = 5
_WILD_SHARE = 8
_FEWEST_SAMPLES = 4


@dataclass(frozen=True)
class Outlier:
    """A sample whose largest magnitude is far above `typical`, the median of all samples."""

    sample: int
    magnitude: float
    typical: float


class Sketch:
    """Statistics of a tensor with `channels` channels; only `observe` changes it, in place."""

    __hash__ = None  # type: ignore[assignment]  # compares by content and can change

    def __init__(self, channels: int) -> None:
        self.channels = channels
        self._strata: dict[int, Stratum] = {}
        self._extremes = Extremes()
        self._points: tuple[DoubleArray, DoubleArray] | None = None

    def observe(self, observation: Observation, first_sample: int) -> None:
        """Takes in a batch whose samples are numbered from `first_sample`; samples without values leave no trace.

        Raises NumericsError that names the sample if something is NaN or infinite, CalibrationError if the number of
        channels is another one.
        """
        values, count = observation.values, observation.count
        if values.shape[0] == 0 or count == 0:
            return
        self._check_channels(observation.low.shape[1])
        observation.check(first_sample)
        self._points = None
        low, high = observation.low.min(axis=1), observation.high.max(axis=1)
        keys = exponents_of(np.maximum(high, -low))
        for key in dict.fromkeys(keys):
            rows = slice(None) if len(set(keys)) == 1 else np.flatnonzero(np.array(keys) == key)
            self._observe_rows(key, observation, rows, first_sample)
        self._extremes.add(low, high, first_sample)

    def _observe_rows(self, key: int, seen: Observation, rows: slice | AnyArray, first_sample: int) -> None:
        stratum = self._strata.setdefault(key, Stratum.empty(key, self.channels))
        low, high, mean = seen.low[rows], seen.high[rows], seen.mean[rows]
        try:
            stratum.observe(seen.values[rows], seen.count, low=low, high=high, mean=mean)
        except ValueError as error:
            raise NumericsError(
                f"a value of the batch at sample {first_sample} lies outside its sample's extremes; "
                "the statistics that came with it are wrong."
            ) from error

    def merge(self, other: Sketch) -> Sketch:
        """A new sketch of all samples of both. Raises CalibrationError if the numbers of channels differ."""
        self._check_channels(other.channels)
        merged = Sketch(self.channels)
        merged._strata = copy.deepcopy(self._strata)
        merged._extremes = self._extremes.merged(other._extremes)
        for key, stratum in other._strata.items():
            merged._strata.setdefault(key, Stratum.empty(key, self.channels)).absorb(stratum)
        return merged

    def renumbered(self, first: int) -> Sketch:
        """The same samples with `first` added to the number of each; shares its content with this one."""
        moved = copy.copy(self)
        moved._extremes = self._extremes.renumbered(first)
        return moved

    def __eq__(self, other: object) -> bool:
        """By content, bit for bit."""
        if not isinstance(other, Sketch):
            return NotImplemented
        mine, theirs = self.to_arrays(), other.to_arrays()
        return all(np.array_equal(array, theirs[name]) for name, array in mine.items())

    def to_arrays(self) -> dict[str, AnyArray]:
        """All content as plain numeric arrays, for a file; equal sketches give equal arrays."""
        return self._extremes.to_arrays() | strata_to_arrays(self._ordered(), self.channels)

    @staticmethod
    def from_arrays(arrays: Mapping[str, AnyArray]) -> Sketch:
        """The sketch that gave these arrays. Raises CalibrationError if one is missing or does not fit the others."""
        strata = strata_from_arrays(arrays)
        sketch = Sketch(int(arrays["channels"]))
        sketch._strata = {stratum.exponent: stratum for stratum in strata}
        try:
            sketch._extremes = Extremes.from_arrays(arrays, sketch.samples)
        except (KeyError, ValueError) as error:
            raise CalibrationError(f"the saved statistics are damaged: {error}. Calibrate again.") from error
        return sketch

    def robust(self) -> tuple[Sketch, tuple[Outlier, ...]]:
        """This sketch without its wild samples, and those samples; itself when there are none.

        A sample is wild when its stratum lies more than five powers of two above that of the median sample, so it is
        more than 32 times larger. Samples that are all zero do not count. Nothing is dropped when there are fewer than
        four samples or when more than one in eight (but at least one) would go: then the data are like that.
        Of more than 16,384 samples the first 1,024 wild ones of each stratum are named, and the typical magnitude is that
        of the first 1,024 samples of the median stratum, right to a factor of two.
        """
        counts = {key: stratum.samples for key, stratum in sorted(self._strata.items()) if key != ZERO_EXPONENT}
        samples = sum(counts.values())
        if samples < _FEWEST_SAMPLES:
            return self, ()
        median = next(key for key, rank in zip(counts, accumulate(counts.values()), strict=True) if 2 * rank >= samples)
        limit = median + _WILD_EXPONENTS
        wild = sum(count for key, count in counts.items() if key > limit)
        if not 0 < wild <= max(1, samples // _WILD_SHARE):
            return self, ()
        lowest, highest = (min(counts), max(counts)) if self._extremes.complete else (median, median)
        typical = float(np.median(self._extremes.magnitudes(lowest, highest)))
        numbers, magnitudes = self._extremes.above(limit)
        kept = Sketch(self.channels)
        kept._strata = {key: stratum for key, stratum in copy.deepcopy(self._strata).items() if key <= limit}
        kept._extremes = self._extremes.without(limit, wild)
        pairs = zip(numbers.tolist(), magnitudes.tolist(), strict=True)
        return kept, tuple(Outlier(sample, size, typical) for sample, size in pairs)

    @property
    def samples(self) -> int:
        """How many samples were observed."""
        return sum(stratum.samples for stratum in self._strata.values())

    @property
    def count(self) -> int:
        """How many values the samples have, seen or not."""
        return sum(stratum.count for stratum in self._strata.values())

    @property
    def low(self) -> float:
        """The smallest value, exact. Raises CalibrationError if nothing was observed, like all that follow."""
        return float(self.channel_low.min())

    @property
    def high(self) -> float:
        """The largest value, exact."""
        return float(self.channel_high.max())

    @property
    def channel_low(self) -> FloatArray:
        """(C,) float32, exact."""
        lows: FloatArray = np.minimum.reduce([stratum.channel_low for stratum in self._filled()])
        return lows

    @property
    def channel_high(self) -> FloatArray:
        """(C,) float32, exact."""
        highs: FloatArray = np.maximum.reduce([stratum.channel_high for stratum in self._filled()])
        return highs

    @property
    def channel_mean(self) -> DoubleArray:
        """(C,) float64, of all values; each value counts alike, whatever its sample's size."""
        total = np.sum([stratum.channel_total() for stratum in self._filled()], axis=0)
        mean: DoubleArray = total * (self.channels / self.count)
        return mean

    def points(self) -> tuple[DoubleArray, DoubleArray]:
        """(x ascending, w): the distribution as weighted points; the weights add up to `count`, nearly.

        Exact values up to 32768 of them; beyond, about 20,000 points of a histogram. Not to be modified: kept for
        reuse.
        """
        x, w = self._all_points()
        return thinned(x, w, EXACT_VALUES if self.is_exact else MOST_POINTS)

    @property
    def is_exact(self) -> bool:
        """Whether every observed value is still known."""
        return all(stratum.histogram is None for stratum in self._strata.values())

    @property
    def resolution(self) -> float:
        """How far apart `points` may lie where they stand for all values between them; 0 when they are the values."""
        return max((bin_width(s.exponent) for s in self._strata.values() if s.histogram is not None), default=0.0)

    def histogram(self, edges: DoubleArray) -> DoubleArray:
        """Values in each [edges[i], edges[i+1]), the last bin with its upper end."""
        return counts_between(self._filled(), edges, self._missed())

    def kth_largest(self, k: int) -> float:
        """The k-th largest of all values, k >= 1: exact for k = 1 or when `is_exact`, else within half a bin of the k-th of
        those that are known."""
        if k <= 1:
            return self.high
        x, w = self._all_points()
        # Half a value of slack: weights are rounded.
        return float(x[::-1][min(int(np.searchsorted(np.cumsum(w[::-1]), k - 0.5)), x.size - 1)])

    def kth_smallest(self, k: int) -> float:
        """The k-th smallest of all values, like `kth_largest`."""
        if k <= 1:
            return self.low
        x, w = self._all_points()
        return float(x[min(int(np.searchsorted(np.cumsum(w), k - 0.5)), x.size - 1)])

    def _all_points(self) -> tuple[DoubleArray, DoubleArray]:
        if self._points is None:
            self._points = weighted_points(self._filled(), self._missed())
        return self._points

    def _missed(self) -> FloatArray:
        """The extremes of each sample where not all values were looked at: a large one that a sample has once is hardly ever
        among those that were."""
        thinned_out = any(stratum.observed < stratum.count for stratum in self._strata.values())
        return self._extremes.ends() if thinned_out else np.empty(0, dtype=np.float32)

    def _ordered(self) -> list[Stratum]:
        return [self._strata[key] for key in sorted(self._strata)]

    def _filled(self) -> list[Stratum]:
        if not self._strata:
            raise CalibrationError("no values were observed, so nothing can be decided. Give at least one sample.")
        return self._ordered()

    def _check_channels(self, channels: int) -> None:
        if channels != self.channels:
            raise CalibrationError(
                f"statistics of {channels} channels do not fit a tensor that had {self.channels} channels before. "
                "The number of channels must be the same in all samples."
            )
