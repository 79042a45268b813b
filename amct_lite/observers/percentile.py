"""Percentile: a range that holds a given share of the values.

Asymmetric: half of the rest is cut off at each end. Symmetric: the smallest [-t, t] that holds the share.
Source: the "percentile" calibration of TensorRT's toolkit (on |x|, 99.99) and of onnxruntime (both ends).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from amct_lite.numerics.affine import qparams_from_range
from amct_lite.numerics.sketch import Sketch
from amct_lite.observers.base import OBSERVERS, require_number
from amct_lite.types import QParams, QuantSpec


@OBSERVERS.register("percentile")
@dataclass(frozen=True)
class Percentile:
    """percentile: share of the values kept, in percent, in (50, 100]."""

    percentile: float = 99.99

    def __post_init__(self) -> None:
        require_number("percentile", "percentile", self.percentile, above=50, upto=100)

    def qparams(self, sketch: Sketch, spec: QuantSpec) -> QParams:
        share_cut = 1 - self.percentile / 100
        if spec.symmetric:
            limit = _magnitude_above(sketch, share_cut)
            return qparams_from_range(max(-limit, sketch.low), min(limit, sketch.high), spec)
        rank = 1 + int(sketch.count * share_cut / 2)
        return qparams_from_range(sketch.kth_smallest(rank), sketch.kth_largest(rank), spec)


def _magnitude_above(sketch: Sketch, share: float) -> float:
    """The magnitude that this share of the values exceeds."""
    rank = 1 + int(sketch.count * share)
    if rank == 1:
        return max(abs(sketch.low), abs(sketch.high))
    x, w = sketch.points()
    magnitude = np.abs(x)
    order = np.argsort(-magnitude, kind="stable")
    reached = int(np.searchsorted(np.cumsum(w[order]), rank - 0.5))
    return float(magnitude[order[min(reached, order.size - 1)]])
