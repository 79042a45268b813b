"""What rounding to a grid does to the values that a sketch has seen."""

from __future__ import annotations

from amct_lite.numerics.sketch import Sketch
from amct_lite.types import QParams


def vanishing_share(sketch: Sketch, params: QParams) -> float:
    """The share of the observed values, 0 to 1, that the grid of `params` cannot tell from zero although they are not.

    Signal to noise would not show it: a few huge values, which the grid holds well, outweigh all the small ones. Where nothing
    is negative, as behind a Relu, zeros and what a sketch cannot tell from them are not counted.
    """
    values, weights = sketch.points()
    counted = weights if sketch.low < 0 else weights * (values != 0)
    total = float(counted.sum())
    return float(counted[abs(values) < params.scale[0] / 2].sum()) / total if total else 0.0
