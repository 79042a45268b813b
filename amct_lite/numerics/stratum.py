"""The samples of one order of magnitude: exact values while they are few, a histogram when they are many.

A stratum holds the samples whose largest magnitude lies in [2^(exponent-1), 2^exponent). The grid of its histogram
follows from the exponent alone, so it never moves: bin i stands for (i - 4096) * 2^(exponent-12), zero in a bin of its own.
Everything kept is an extreme, an integer sum or a sorted multiset: what a stratum holds does not depend on the order of its
samples.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from amct_lite.types import DoubleArray, FloatArray

LongArray = NDArray[np.int64]

# A stratum with more observed values than this keeps a histogram instead of the values.
EXACT_VALUES = 32768
HALF_BINS = 4096
BINS = 2 * HALF_BINS + 1
# Samples that are all zero have no magnitude: a stratum of their own.
ZERO_EXPONENT = -1000
# Below this all samples share a stratum: a finer grid would leave float32's range, and no scale is this small.
LOWEST_EXPONENT = -100
# Weights are integers, this many to one value, and sums of means are integers, 2^24 to the stratum's magnitude: integer
# sums are exact, so merging is associative. The rounding is 0.05 % of a weight, 6e-8 of the magnitude of a mean.
WEIGHT_ONE = 1024
MEAN_BITS = 24
# A sum of means is held as a multiple of twice this and a rest, which lies within ± this.
_HALF = 1 << 62
# Values binned at a time: both buffers stay in the second-level cache.
_CHUNK = 1 << 16


class _Scratch(threading.local):
    """One pair of buffers a thread; made at its first use."""

    def __init__(self) -> None:
        self.floats = np.empty(_CHUNK, dtype=np.float32)
        self.indices = np.empty(_CHUNK, dtype=np.int64)


_SCRATCH = _Scratch()


def exponents_of(magnitude: FloatArray) -> list[int]:
    """The stratum of each of these magnitudes, (N,) float32 >= 0."""
    exponents = np.maximum(np.frexp(magnitude)[1], LOWEST_EXPONENT)
    result: list[int] = np.where(magnitude == 0, ZERO_EXPONENT, exponents).tolist()
    return result


def bin_width(exponent: int) -> float:
    """Width of a histogram bin, a power of two."""
    return 2.0 ** (max(exponent, LOWEST_EXPONENT) - 12)


def count_bins(values: FloatArray, exponent: int) -> LongArray:
    """(BINS,) how many of `values` (n,) fall into each bin of the stratum.

    Raises ValueError if a value lies outside the stratum: its sample's extremes cannot be right.
    """
    factor = np.float32(1 / bin_width(exponent))
    shift = np.float32(HALF_BINS + 0.5)
    counts: LongArray | None = None
    for start in range(0, values.size, _CHUNK):
        chunk = values[start : start + _CHUNK]
        floats, indices = _SCRATCH.floats[: chunk.size], _SCRATCH.indices[: chunk.size]
        np.multiply(chunk, factor, out=floats)
        np.add(floats, shift, out=floats)
        np.copyto(indices, floats, casting="unsafe")  # the cast truncates, and all indices are positive: floor
        binned = np.bincount(indices, minlength=BINS)
        if binned.size > BINS:
            raise ValueError("a value lies above the largest of its sample")
        counts = binned if counts is None else np.add(counts, binned, out=counts)
    return np.zeros(BINS, dtype=np.int64) if counts is None else counts


@dataclass(eq=False)
class Stratum:
    """Mutable while it collects. `count`: true number of values; `observed`: how many of them were seen.

    channel_sum: (C,) int64, Σ over samples of round(mean * 2^(24-exponent)) * rows, where rows = count / C; what lies beyond
    ±2^62 is in channel_carry, as multiples of 2^63.
    values, weights: parallel pieces while `histogram` is None; `in_order` once `exact()` has sorted them into one piece.
    """

    exponent: int
    channel_low: FloatArray
    channel_high: FloatArray
    channel_sum: LongArray
    channel_carry: LongArray
    samples: int = 0
    count: int = 0
    observed: int = 0
    values: list[FloatArray] = field(default_factory=list)
    weights: list[LongArray] = field(default_factory=list)
    histogram: LongArray | None = None
    in_order: bool = True

    @staticmethod
    def empty(exponent: int, channels: int) -> Stratum:
        return Stratum(
            exponent,
            np.full(channels, np.inf, dtype=np.float32),
            np.full(channels, -np.inf, dtype=np.float32),
            np.zeros(channels, dtype=np.int64),
            np.zeros(channels, dtype=np.int64),
        )

    @property
    def low(self) -> float:
        return float(self.channel_low.min())

    @property
    def high(self) -> float:
        return float(self.channel_high.max())

    @property
    def _mean_unit(self) -> float:
        return 2.0 ** (max(self.exponent, LOWEST_EXPONENT) - MEAN_BITS)

    def observe(self, values: FloatArray, count: int, *, low: FloatArray, high: FloatArray, mean: FloatArray) -> None:
        """Takes in samples of this magnitude: `values` (k, m), the statistics (k, C)."""
        samples, seen = values.shape
        self.samples += samples
        self.count += samples * count
        self.observed += samples * seen
        np.minimum(self.channel_low, low.min(axis=0), out=self.channel_low)
        np.maximum(self.channel_high, high.max(axis=0), out=self.channel_high)
        steps = np.rint(mean.astype(np.float64) / self._mean_unit).sum(axis=0)
        self._add(steps.astype(np.int64) * (count // self.channel_sum.size))
        flat = values.reshape(-1)
        weight = round(WEIGHT_ONE * count / seen)
        if self.histogram is None and self.observed <= EXACT_VALUES:
            self.values.append(flat + np.float32(0))  # a copy, with -0.0 made 0.0: equal values, equal bytes
            self.weights.append(np.full(flat.size, weight, dtype=np.int64))
            self.in_order = False
            return
        histogram = self._fold()
        histogram += count_bins(flat, self.exponent) * weight

    def absorb(self, other: Stratum) -> None:
        """Takes in all that `other`, of the same exponent, holds; `other` stays as it is."""
        self.samples += other.samples
        self.count += other.count
        self.observed += other.observed
        np.minimum(self.channel_low, other.channel_low, out=self.channel_low)
        np.maximum(self.channel_high, other.channel_high, out=self.channel_high)
        self.channel_carry += other.channel_carry
        self._add(other.channel_sum)
        if other.histogram is None:
            self.values += other.values
            self.weights += other.weights
            self.in_order = False
        if self.histogram is not None or other.histogram is not None or self.observed > EXACT_VALUES:
            histogram = self._fold()
            histogram += 0 if other.histogram is None else other.histogram

    def exact(self) -> tuple[FloatArray, LongArray]:
        """The kept values in ascending order, and their weights; empty once folded. The order is the only one possible."""
        if not self.in_order:
            values, weights = self._kept()
            if (weights == weights[:1]).all():
                values = np.sort(values)
            else:
                order = np.lexsort((weights, values))
                values, weights = values[order], weights[order]
            self.values, self.weights, self.in_order = [values], [weights], True
        return self._kept()

    def channel_total(self) -> DoubleArray:
        """(C,) sum of the values of each channel."""
        return (self.channel_sum + self.channel_carry * 2.0**63) * np.float64(self._mean_unit)

    def _add(self, steps: LongArray) -> None:
        """steps: (C,) within ±2^62, as channel_sum is before and after, so that no sum overflows and each has one form only."""
        self.channel_sum += steps
        beyond = (self.channel_sum >= _HALF).astype(np.int64) - (self.channel_sum < -_HALF)
        self.channel_carry += beyond
        self.channel_sum -= beyond * _HALF
        self.channel_sum -= beyond * _HALF

    def _kept(self) -> tuple[FloatArray, LongArray]:
        if not self.values:
            return np.zeros(0, dtype=np.float32), np.zeros(0, dtype=np.int64)
        return np.concatenate(self.values), np.concatenate(self.weights)

    def _fold(self) -> LongArray:
        """Moves what exact values there are into the histogram, and returns it."""
        histogram = np.zeros(BINS, dtype=np.int64) if self.histogram is None else self.histogram
        if self.values:
            values, weights = self._kept()
            alike = bool((weights == weights[0]).all())  # as a rule, and looking for others takes longer than counting
            for weight in weights[:1].tolist() if alike else np.unique(weights).tolist():
                histogram += count_bins(values if alike else values[weights == weight], self.exponent) * weight
            self.values, self.weights, self.in_order = [], [], True
        self.histogram = histogram
        return histogram
