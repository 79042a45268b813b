"""HFMG, AMCT's histogram method: shrink the range from both ends greedily, keep the one with the least analytic error.

A histogram of `num_of_bins` over [min, max]. The range of bins, first to last, gives up whole bins that hold a mass of
max(ceil(total / 100000), 1), on the side where these are more, until a quarter of the bins is left; each step is a candidate
[min + first*w, min + (last+1)*w]. Loss of a candidate: within a bin the density is uniform, so the error of rounding to 2^b
centres is a sum of cubes:
  density * (d_end^3 - d_begin^3) / 3, with d the distance to the centre.
The best range goes through the min/max rule. Source: AMCT contract, section 5; torch.ao.quantization HistogramObserver.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from amct_lite.errors import ConfigError
from amct_lite.numerics.affine import qparams_from_range
from amct_lite.numerics.sketch import Sketch
from amct_lite.observers.base import OBSERVERS
from amct_lite.types import DoubleArray, QParams, QuantSpec

_BIN_CHOICES = (1024, 2048, 4096, 8192)
_MOST_STEPS = 100_000
# Neighbouring candidates differ little: about this many are tried first, then more between the best one's neighbours.
_COARSE = 32


@OBSERVERS.register("hfmg")
@dataclass(frozen=True)
class Hfmg:
    """num_of_bins: 1024, 2048, 4096 or 8192."""

    num_of_bins: int = 4096

    def __post_init__(self) -> None:
        if isinstance(self.num_of_bins, bool) or self.num_of_bins not in _BIN_CHOICES:
            choices = ", ".join(map(str, _BIN_CHOICES))
            raise ConfigError(f"hfmg: num_of_bins = {self.num_of_bins!r} is not supported (choose one of {choices}).")

    def qparams(self, sketch: Sketch, spec: QuantSpec) -> QParams:
        low, high = sketch.low, sketch.high
        if low == high:
            return qparams_from_range(low, high, spec)
        edges = np.linspace(low, high, self.num_of_bins + 1)
        counts = sketch.histogram(edges)
        first, last = _least_loss(counts, _shrinking_ranges(counts), 1 << spec.bits)
        width = (high - low) / self.num_of_bins
        return qparams_from_range(low + first * width, low + (last + 1) * width, spec)


def _shrinking_ranges(counts: DoubleArray) -> list[tuple[int, int]]:
    """(first, last) bin of every range that the greedy walk passes, widest first.

    The whole histogram is one of them only where the first step is longer than a bin: AMCT, which leaves it out there, too,
    clips a heavy tail to a fraction of its range without having compared.
    """
    running = np.concatenate([[0.0], np.cumsum(counts)])  # of the bins in front of each edge
    step = max(float(np.ceil(running[-1] / _MOST_STEPS)), 1.0)
    fewest = -(-counts.size // 4)
    first, last = 0, counts.size - 1
    ranges = [(first, last)]
    while last - first > fewest:
        # As many whole bins as hold the mass; a side that does not hold it any more gives up all but one.
        left = min(int(np.searchsorted(running, running[first] + step)), last)
        right = max(int(np.searchsorted(running, running[last + 1] - step, side="right")) - 2, left)
        if last - right >= left - first:
            last = right
        else:
            first = left
        ranges.append((first, last))
    first, last = ranges[1]
    return ranges[1:] if last - first == counts.size - 2 else ranges


def _least_loss(counts: DoubleArray, ranges: list[tuple[int, int]], levels: int) -> tuple[int, int]:
    """The range with the least loss, the first of equals: coarse steps, then finer ones around the best."""
    losses: dict[int, float] = {}
    first, stop, stride = 0, len(ranges), max(1, len(ranges) // _COARSE)
    while True:
        for i in range(first, stop, stride):
            if i not in losses:
                losses[i] = _loss(counts, *ranges[i], levels=levels)
        best = min(losses, key=lambda i: (losses[i], i))
        if stride == 1:
            return ranges[best]
        first, stop = max(0, best - stride), min(len(ranges), best + stride + 1)
        stride = max(1, stride // 4)


def _loss(counts: DoubleArray, start: int, end: int, *, levels: int) -> float:
    """Rounding and clipping error of the bins [start, end], in units of a bin's width squared."""
    target = (end - start + 1) / levels
    half = target / 2
    edges = np.arange(counts.size + 1, dtype=np.float64) - start
    level = np.clip(np.floor(edges / target), 0, levels - 1)
    distance = edges - (level * target + half)
    cubes = distance * distance * distance
    # A bin's density runs to the end of its first level, over whole levels, and from the begin of its last level.
    error = cubes[1:] - cubes[:-1] + np.diff(level) * (2 * half**3)
    return float(np.einsum("i,i->", counts, error)) / 3
