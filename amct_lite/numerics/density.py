"""The distribution that strata stand for: as weighted points, and as counts between any edges.

A histogram bin is a uniform density from edge to edge, cut at the stratum's extremes; the bin around zero is a point
at zero, because after a Relu it is nearly all exact zeros. Exact values are themselves.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from amct_lite.numerics.stratum import BINS, HALF_BINS, WEIGHT_ONE, Stratum, bin_width
from amct_lite.types import AnyArray, DoubleArray, FloatArray

# More points than this cost time and tell an observer nothing new: the grid of 16 bits is finer, but errors average out.
MOST_POINTS = 20_000
_MOST_SUBPOINTS = 8


def weighted_points(strata: Sequence[Stratum], single: FloatArray) -> tuple[DoubleArray, DoubleArray]:
    """(x ascending, w): every exact value, one or more points for each bin that is not empty, and each of `single` as one
    value; w in values."""
    occupied = sum(int(np.count_nonzero(s.histogram)) for s in strata if s.histogram is not None)
    subpoints = max(1, min(_MOST_SUBPOINTS, MOST_POINTS // max(occupied, 1)))
    pieces = [_exact_points(s) if s.histogram is None else _bin_points(s, s.histogram, subpoints) for s in strata]
    if single.size:
        pieces.append((single.astype(np.float64), np.ones(single.size)))
    x = np.concatenate([piece[0] for piece in pieces])
    w = np.concatenate([piece[1] for piece in pieces])
    if len(pieces) > 1:
        order = np.argsort(x, kind="stable")
        x, w = x[order], w[order]
    return x, w


def thinned(x: DoubleArray, w: DoubleArray, limit: int) -> tuple[DoubleArray, DoubleArray]:
    """At most about `limit` points with the same weight and mean: near points become one; zero stays zero.

    x ascending. The ends move inwards by less than 1 / limit of the range.
    """
    if x.size <= limit:
        return x, w
    span = x[-1] - x[0]
    cell = np.floor((x - x[0]) * ((limit - 2) / span)) if span else np.zeros(x.size)
    zero = x == 0
    first = np.concatenate([[0], np.flatnonzero((cell[1:] != cell[:-1]) | (zero[1:] != zero[:-1])) + 1])
    weight = np.add.reduceat(w, first)
    return np.add.reduceat(w * x, first) / weight, weight


def counts_between(strata: Sequence[Stratum], edges: DoubleArray, single: FloatArray) -> DoubleArray:
    """Weight in each [edges[i], edges[i+1]), the last with its upper end, in values; `single` are one each. edges ascending."""
    below = np.zeros(edges.size)
    upper = edges.copy()
    upper[-1] = np.nextafter(upper[-1], np.inf)
    for stratum in strata:
        if stratum.histogram is None:
            values, weights = stratum.exact()
            running = np.concatenate([[0], np.cumsum(weights)])
            below += running[np.searchsorted(values, upper)]
        else:
            below += _weight_below(stratum, stratum.histogram, upper)
    counts: DoubleArray = np.diff(below) / WEIGHT_ONE + np.histogram(single, edges)[0]
    return counts


def _exact_points(stratum: Stratum) -> tuple[DoubleArray, DoubleArray]:
    values, weights = stratum.exact()
    return values.astype(np.float64), weights / WEIGHT_ONE


def _bin_points(stratum: Stratum, histogram: AnyArray, subpoints: int) -> tuple[DoubleArray, DoubleArray]:
    bins = np.flatnonzero(histogram)
    offsets = (np.arange(subpoints) + 0.5) / subpoints - 0.5
    steps = (bins - HALF_BINS)[:, None] + offsets
    steps[bins == HALF_BINS] = 0.0
    x = (steps * bin_width(stratum.exponent)).reshape(-1)
    w = np.repeat(histogram[bins] / (WEIGHT_ONE * subpoints), subpoints)
    return np.clip(x, stratum.low, stratum.high), w


def _weight_below(stratum: Stratum, histogram: AnyArray, x: DoubleArray) -> DoubleArray:
    """Weight units below each x, with the zero bin as a step at 0."""
    width = bin_width(stratum.exponent)
    edges = np.clip((np.arange(BINS + 1) - HALF_BINS - 0.5) * width, stratum.low, stratum.high)
    without_zero = histogram.astype(np.float64)
    without_zero[HALF_BINS] = 0
    running = np.concatenate([[0.0], np.cumsum(without_zero)])
    below: DoubleArray = np.interp(x, edges, running) + histogram[HALF_BINS] * (x > 0)
    return below
