"""What rounding to a grid does to the values that a sketch has seen."""

from __future__ import annotations

import numpy as np

from amct_lite.numerics.sketch import Sketch
from amct_lite.types import QParams

_SPEAKS = 0.1
"""So large a share of the values must lie on the longer side of zero for it to speak for the tensor."""


def vanishing_share(sketch: Sketch, params: QParams) -> float:
    """The share of the observed values, 0 to 1, that the grid of `params` cannot tell from zero although they are not.

    Signal to noise would not show it: a few huge values, which the grid holds well, outweigh all the small ones. Only the side
    of zero counts on which the tensor reaches further: what a LeakyRelu, Gelu or SiLU makes small on the other is meant to be
    small. Where nothing is negative, as behind a Relu, zeros and what a sketch cannot tell from them are not counted.
    """
    values, weights = sketch.points()
    counted = weights if sketch.low < 0 else weights * (values != 0)
    longer = values >= 0 if sketch.high >= -sketch.low else values <= 0
    if counted[longer].sum() >= _SPEAKS * counted.sum():
        counted = np.where(longer, counted, 0)
    total = float(counted.sum())
    return float(counted[abs(values) < params.scale[0] / 2].sum()) / total if total else 0.0
