"""The loss that range searches minimise, on a distribution given as weighted points."""

from __future__ import annotations

import numpy as np

from amct_lite.types import DoubleArray

_MOST_LEVELS = 1 << 10
"""Of a grid whose errors are estimated: the running sums are looked up at each of them."""


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


def least_clipped_error(
    x: DoubleArray, w: DoubleArray, lows: DoubleArray, highs: DoubleArray, scales: DoubleArray, *, resolution: float = 0.0
) -> int:
    """The first index of the least `clipped_error` among ranges lows[i] <= 0 <= highs[i] with scales[i] > 0.

    Running sums tell all errors at once, but for their rounding; the true error decides among those that it leaves.
    """
    contenders = np.arange(scales.size)
    if scales.min() >= resolution and ((highs - lows) / scales).max() < _MOST_LEVELS:
        estimates, slack = estimated_errors(x, w, lows, highs, scales)
        contenders = np.flatnonzero(estimates <= estimates.min() + slack)
    tried = zip(*(column[contenders].tolist() for column in (lows, highs, scales)), strict=True)
    losses = [clipped_error(x, w, low, high, scale=scale, resolution=resolution) for low, high, scale in tried]
    return int(contenders[np.argmin(losses)])


def estimated_errors(
    x: DoubleArray, w: DoubleArray, lows: DoubleArray, highs: DoubleArray, scales: DoubleArray
) -> tuple[DoubleArray, float]:
    """The errors less Σ w x², which all ranges share, and how far apart two may be found that are equal.

    Σ w (k s - x)² over the levels k is s² Σ k² w - 2 s Σ k w x + Σ w x². From one level to the next, k² grows by 2k + 1 and k
    by 1, of the sums of all that lies above the border between both; that is the whole sum less the running one.
    """
    zero = np.zeros(1)
    mass, first = (np.concatenate([zero, np.cumsum(values)]) for values in (w, w * x))
    bottom, top = np.rint(lows * (1 / scales)), np.rint(highs * (1 / scales))
    levels = bottom[:, None] + np.arange((top - bottom).max())
    at = np.searchsorted(x, (levels + 0.5) * scales[:, None])
    real = levels < top[:, None]
    squares = top**2 * mass[-1] - np.einsum("ij,ij->i", (2 * levels + 1) * real, mass[at])
    products = top * first[-1] - np.einsum("ij,ij->i", real, first[at])
    reach = np.maximum(highs, -lows).max() + scales.max()
    largest = np.einsum("i,i->", w, (reach + np.abs(x)) ** 2)
    slack = 16 * (x.size + levels.shape[1]) * np.finfo(np.float64).eps * largest
    return scales * (scales * squares - 2 * products), float(slack)
