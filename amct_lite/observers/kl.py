"""KL: the range whose quantized distribution diverges least from the true one, in the sense of Kullback and Leibler.

A histogram of |x| in 1024 to 2048 bins, without the values that are zero or next to it (after a Relu zeros would
outweigh everything, and they are quantized without error). The bins are whole bins of the sketch, so that exact values
and their histogram give the same answer. For each threshold of i bins:
  P = the counts below it, what lies above added to the last bin
  Q = the counts below it (nothing added), evened out over the bins that are not empty within each of the grid's levels
  divergence = Σ p log(p / q), P and Q scaled to sum 1.
Sums of counts and of non-empty bins come from running sums, so a threshold costs a step a level, not a step a bin.
With as many levels as bins no threshold loses anything by this measure: min-max is the answer. Source: S. Migacz,
"8-bit inference with TensorRT" (GTC 2017); onnxruntime's entropy calibration.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from amct_lite.numerics.affine import qparams_from_range
from amct_lite.numerics.sketch import Sketch
from amct_lite.numerics.stratum import bin_width
from amct_lite.observers.base import OBSERVERS
from amct_lite.types import DoubleArray, QParams, QuantSpec

_MOST_CANDIDATES = 256
# A threshold that cuts off nearly everything has no divergence: one bin is left, in P and in Q. Such ones are left out.
_MOST_CLIPPED = 0.1
# What a level without counts is taken to hold where P is not zero: the divergence is large then, not infinite.
_TINY = 1e-12


@OBSERVERS.register("kl")
@dataclass(frozen=True)
class KullbackLeibler:
    """No options."""

    def qparams(self, sketch: Sketch, spec: QuantSpec) -> QParams:
        low, high = min(sketch.low, 0.0), max(sketch.high, 0.0)
        limit = max(-low, high)
        one_sided = not spec.symmetric and (low >= 0 or high <= 0)
        levels = 1 << (spec.bits if one_sided else spec.bits - 1)
        edges = _magnitude_edges(limit)
        if limit == 0 or levels >= edges.size - 1:
            return qparams_from_range(low, high, spec)
        counts = sketch.histogram(edges) + sketch.histogram(-edges[::-1])[::-1]
        threshold = edges[_least_divergence(counts, levels)]
        return qparams_from_range(max(low, -threshold), min(high, threshold), spec)


def _magnitude_edges(limit: float) -> DoubleArray:
    """Edges from just beside zero to `limit` or beyond, two bins of the sketch apart."""
    width = bin_width(math.frexp(limit)[1])
    bins = math.ceil((limit / width - 0.5) / 2)
    edges: DoubleArray = (2 * np.arange(bins + 1, dtype=np.float64) + 0.5) * np.float64(width)
    return edges


def _least_divergence(counts: DoubleArray, levels: int) -> int:
    """How many bins to keep; the largest of equals."""
    bins = counts.size
    stride = max(1, (bins - levels) // _MOST_CANDIDATES)
    kept = np.arange(bins, levels, -stride)
    running = np.concatenate([[0.0], np.cumsum(counts)])
    filled = np.concatenate([[0], np.cumsum(counts > 0)])
    logs = np.concatenate([[0.0], np.cumsum(_times_log(counts))])
    total = running[-1]
    if total == 0:
        return bins
    kept = kept[running[kept] >= (1 - _MOST_CLIPPED) * total]
    edges = (kept[:, None] * np.arange(levels + 1)) // levels
    inside = np.diff(running[edges], axis=1)
    occupied = np.diff(filled[edges], axis=1).astype(np.float64)
    last = counts[kept - 1]
    outside = total - running[kept]
    occupied[:, -1] += (last == 0) & (outside > 0)
    mass = inside.copy()
    mass[:, -1] += outside
    evened = np.maximum(inside, _TINY * total) / np.maximum(occupied, 1)
    p_log_p = logs[kept] - _times_log(last) + _times_log(last + outside)
    p_log_q = (mass * np.log(evened)).sum(axis=1)
    divergence = (p_log_p - p_log_q) / total - np.log(total) + np.log(np.maximum(running[kept], _TINY * total))
    return int(kept[np.argmin(divergence)])


def _times_log(counts: DoubleArray) -> DoubleArray:
    result: DoubleArray = counts * np.log(np.where(counts > 0, counts, 1))
    return result
