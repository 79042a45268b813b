"""IFMR, AMCT's default: take the extremes at a percentile, then search the upper bound with the least quantization error.

max = the k-th largest value, k = N - int(max_percentile * N), at least 1; min likewise; max >= 0 >= min.
Candidates: max * arange(start, end, step) in float32; the lower bound stays. With b bits
  asymmetric  s = (max_c - min) / (2^b - 1)                              clip to [min, max_c]
  symmetric   s = max_c / limit, from max(|min|, |max|), limit as in the min/max rule    clip to [-max_c, max_c]
  loss = mean (round(clip(x) / s) * s - x)^2; the first of the least losses wins.
Source: AMCT contract, section 5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from amct_lite.errors import ConfigError
from amct_lite.numerics.affine import qparams_from_range
from amct_lite.numerics.range_search import least_clipped_error
from amct_lite.numerics.sketch import Sketch
from amct_lite.observers.base import OBSERVERS, require_number
from amct_lite.types import FloatArray, QParams, QuantSpec

# More candidates than this take longer than anyone wants, and a step that fine tells nothing.
_MOST_CANDIDATES = 10_000


@OBSERVERS.register("ifmr")
@dataclass(frozen=True)
class Ifmr:
    """max_percentile, min_percentile in (0.5, 1]; search_range: (start, end) factors, 0 < start < end; search_step > 0."""

    max_percentile: float = 0.999999
    min_percentile: float = 0.999999
    search_range: Sequence[float] = (0.7, 1.3)
    search_step: float = 0.01

    def __post_init__(self) -> None:
        require_number("ifmr", "max_percentile", self.max_percentile, above=0.5, upto=1)
        require_number("ifmr", "min_percentile", self.min_percentile, above=0.5, upto=1)
        bounds = self.search_range
        if not isinstance(bounds, Sequence) or isinstance(bounds, str) or len(bounds) != 2:
            raise ConfigError(f"ifmr: search_range = {bounds!r} must be two numbers, start and end.")
        start = require_number("ifmr", "search_range start", bounds[0], above=0, upto=100)
        end = require_number("ifmr", "search_range end", bounds[1], above=0, upto=100)
        if start >= end:
            raise ConfigError(f"ifmr: search_range = {list(bounds)} must begin below its end.")
        step = require_number("ifmr", "search_step", self.search_step, above=0, upto=100)
        if (end - start) / step > _MOST_CANDIDATES:
            raise ConfigError(f"ifmr: search_step = {step:g} gives more than {_MOST_CANDIDATES} candidates; make it larger.")
        object.__setattr__(self, "search_range", (start, end))

    def qparams(self, sketch: Sketch, spec: QuantSpec) -> QParams:
        count = sketch.count
        high = max(0.0, sketch.kth_largest(count - int(self.max_percentile * count)))
        low = min(0.0, sketch.kth_smallest(count - int(self.min_percentile * count)))
        if low == high:
            return qparams_from_range(low, high, spec)
        points, weights = sketch.points()
        if spec.symmetric:
            upward = high >= -low
            candidates = self._candidates(high if upward else -low)
            lows, scales = -candidates, candidates / np.float32(spec.qmax if upward else -spec.qmin)
        else:
            candidates = self._candidates(high)
            lows = np.full_like(candidates, low)
            scales = (candidates - lows) / np.float32(spec.qmax - spec.qmin)
        if not scales.all():  # of values so small that float32 has no scale for them: the rule for tiny scales decides
            return qparams_from_range(low, high, spec)
        tried = (array.astype(np.float64) for array in (lows, candidates, scales))
        best = least_clipped_error(points, weights, *tried, resolution=sketch.resolution)
        if spec.symmetric and not upward:
            return qparams_from_range(-candidates[best], 0.0, spec)
        return qparams_from_range(0.0 if spec.symmetric else low, candidates[best], spec)

    def _candidates(self, bound: float) -> FloatArray:
        start, end = self.search_range
        factors: FloatArray = np.arange(start, end, self.search_step, dtype=np.float32)
        return factors * np.float32(bound)
