"""The loss that range searches minimise, on a distribution given as weighted points."""

from __future__ import annotations

import numpy as np

from amct_lite.types import DoubleArray


def clipped_error(x: DoubleArray, w: DoubleArray, low: float, high: float, *, scale: float) -> float:
    """Σ w (round(clip(x, low, high) / scale) * scale - x)², with the grid through 0. `scale` > 0."""
    steps = np.clip(x, low, high)
    steps *= 1 / scale
    np.rint(steps, out=steps)
    steps *= scale
    steps -= x
    steps *= steps
    # Not a BLAS product: its threads would fight with those of the runtime for the cores.
    return float(np.einsum("i,i->", steps, w))
