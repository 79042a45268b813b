"""The loss that range searches minimise, on a distribution given as weighted points."""

from __future__ import annotations

import numpy as np

from amct_lite.types import DoubleArray


def clipped_error(x: DoubleArray, w: DoubleArray, low: float, high: float, *, scale: float, resolution: float = 0.0) -> float:
    """Σ w (round(clip(x, low, high) / scale) * scale - x)², with the grid through 0. x ascending, `scale` > 0.

    resolution: how far apart the points lie where each stands for a stretch of values (0: they are the values). On a finer
    grid than that, as of 16 bits, where a point falls between two codes says nothing of the values around it: what lies
    inside then has the mean error of rounding, scale² / 12, but for zeros, and what lies outside its distance to the bound.
    """
    if scale < resolution:
        steps = np.clip(x, low, high)
        steps -= x
        steps *= steps
        steps += (scale * scale / 12) * ((x >= low) & (x <= high) & (x != 0))
        return float(np.einsum("i,i->", steps, w))
    first, last = np.searchsorted(x, (low, high))
    steps = np.empty_like(x)
    inside = steps[first:last]
    np.multiply(x[first:last], 1 / scale, out=inside)
    np.rint(inside, out=inside)
    inside *= scale
    steps[:first] = np.rint(low * (1 / scale)) * scale
    steps[last:] = np.rint(high * (1 / scale)) * scale
    steps -= x
    steps *= steps
    # Not a BLAS product: its threads would fight with those of the runtime for the cores.
    return float(np.einsum("i,i->", steps, w))
