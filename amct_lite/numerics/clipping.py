"""What the codes of a tensor cannot reach of the values that were observed."""

from __future__ import annotations

from amct_lite.numerics.affine import real_range
from amct_lite.numerics.sketch import Sketch
from amct_lite.types import QParams


def clipped_share(sketch: Sketch, activation: QParams) -> float:
    """Share of the values that lie more than half a step beyond the outermost codes: nearer ones still round onto them.

    activation: per-tensor. Exact up to 32768 values, from a histogram beyond.
    """
    low, high = real_range(activation)
    slack = activation.scale[0] / 2
    values, weights = sketch.points()
    return float(weights[(values < low - slack) | (values > high + slack)].sum() / weights.sum())
