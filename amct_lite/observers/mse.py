"""MSE: the range with the least squared error, searched over both ends.

First a coarse grid over both bounds with the noise model of OCTAV (Sakr et al., ICML 2022): a value inside the range
errs by step^2 / 12, a value outside by its distance to the bound squared; and a value that becomes zero by itself.
Running sums make a candidate cost nothing, so thousands are looked at. Then the true error decides between that range,
the full range, and a walk around the best. The result is never worse than min-max on the points that it saw.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from amct_lite.numerics.affine import qparams_from_range, real_range
from amct_lite.numerics.range_search import clipped_error
from amct_lite.numerics.sketch import Sketch
from amct_lite.observers.base import OBSERVERS
from amct_lite.types import DoubleArray, QParams, QuantSpec

# Fractions of the full range, a constant ratio apart: an outlier may be a thousand times the rest.
_FRACTIONS = np.geomspace(1, 1 / 1024, 96)
# One factor between neighbouring fractions is 1.076: the walk covers the gap on both sides, then its own gaps.
_WALKS = (np.linspace(0.94, 1.06, 9), np.linspace(0.988, 1.012, 7))


@OBSERVERS.register("mse")
@dataclass(frozen=True)
class MeanSquaredError:
    """No options."""

    def qparams(self, sketch: Sketch, spec: QuantSpec) -> QParams:
        low, high = min(sketch.low, 0.0), max(sketch.high, 0.0)
        if low == high:
            return qparams_from_range(low, high, spec)
        search = _Search(sketch, low=low, high=high, spec=spec)
        low, high = search.walk(*search.coarse())
        return qparams_from_range(low, high, spec)


class _Search:
    """Errors of ranges on one set of points. A symmetric range is [-t, t] cut to the extremes of the data."""

    def __init__(self, sketch: Sketch, *, low: float, high: float, spec: QuantSpec) -> None:
        x, w = sketch.points()
        self._resolution = sketch.resolution
        self._x, self._w, self._spec = x, w, spec
        self._low, self._high = low, high
        self._sums = [np.concatenate([[0.0], np.cumsum(w * x**power)]) for power in range(3)]

    def coarse(self) -> tuple[float, float]:
        """The best range of the grid by the noise model."""
        low, high, spec = self._low, self._high, self._spec
        if spec.symmetric:
            limits = max(-low, high) * _FRACTIONS
            lows, highs = np.maximum(-limits, low), np.minimum(limits, high)
            steps = np.maximum(highs / spec.qmax, lows / spec.qmin)
            losses = self._beyond_low(lows) + self._beyond_high(highs) + self._within(steps)
            best = int(np.argmin(losses))
            return float(lows[best]), float(highs[best])
        lows = low * _FRACTIONS if low else np.zeros(1)
        highs = high * _FRACTIONS if high else np.zeros(1)
        steps = (highs[None, :] - lows[:, None]) / (spec.qmax - spec.qmin)
        losses = self._beyond_low(lows)[:, None] + self._beyond_high(highs)[None, :] + self._within(steps)
        row, column = np.unravel_index(int(np.argmin(losses)), losses.shape)
        return float(lows[row]), float(highs[column])

    def walk(self, low: float, high: float) -> tuple[float, float]:
        """The best by true error among the full range, [low, high], and ranges near it."""
        best = min((self._error(self._low, self._high), self._low, self._high), (self._error(low, high), low, high))
        for factors in _WALKS:
            _, low, high = best
            if self._spec.symmetric:
                limit = max(-low, high)
                tried = [self._cut(limit * factor) for factor in factors.tolist()]
                best = min([best, *((self._error(*pair), *pair) for pair in tried)])
                continue
            upper = [(low, min(high * factor, self._high)) for factor in factors.tolist() if high]
            best = min([best, *((self._error(*pair), *pair) for pair in upper)])
            lower = [(max(low * factor, self._low), best[2]) for factor in factors.tolist() if low]
            best = min([best, *((self._error(*pair), *pair) for pair in lower)])
        return best[1], best[2]

    def _cut(self, limit: float) -> tuple[float, float]:
        return max(-limit, self._low), min(limit, self._high)

    def _error(self, low: float, high: float) -> float:
        """The error of the grid that this range gets, to the grid's own ends."""
        params = qparams_from_range(low, high, self._spec)
        return clipped_error(self._x, self._w, *real_range(params), scale=params.scale[0], resolution=self._resolution)

    def _within(self, steps: DoubleArray) -> DoubleArray:
        """Rounding error of every value, for each step: those below half a step become 0, the others get noise."""
        begin, end = np.searchsorted(self._x, -steps / 2), np.searchsorted(self._x, steps / 2)
        mass, _, second = (sums[end] - sums[begin] for sums in self._sums)
        result: DoubleArray = second + (self._sums[0][-1] - mass) * steps**2 / 12
        return result

    def _beyond_high(self, bounds: DoubleArray) -> DoubleArray:
        """Σ w (x - bound)² over x > bound, for each bound."""
        at = np.searchsorted(self._x, bounds, side="right")
        mass, first, second = (sums[-1] - sums[at] for sums in self._sums)
        result: DoubleArray = second - 2 * bounds * first + bounds**2 * mass
        return result

    def _beyond_low(self, bounds: DoubleArray) -> DoubleArray:
        at = np.searchsorted(self._x, bounds, side="left")
        mass, first, second = (sums[at] for sums in self._sums)
        result: DoubleArray = second - 2 * bounds * first + bounds**2 * mass
        return result
