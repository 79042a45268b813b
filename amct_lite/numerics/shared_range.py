"""One range for several tensors, and a range that does not go beyond what its tensor can be."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

import numpy as np

from amct_lite.numerics.affine import SMALLEST_SCALE, qparams_from_range, real_range
from amct_lite.types import QParams, QuantSpec


def covering(params: Sequence[QParams], spec: QuantSpec, bounds: tuple[float, float] = (-inf, inf)) -> QParams:
    """Per-tensor parameters on the grid of `spec` whose range holds the ranges of all `params`, as far as `bounds` allow.

    bounds: (low, high) that no value leaves, as behind a Relu or Clip. The range never goes beyond a finite bound, but to 0,
    which has a code always: codes up there would stand for nothing, and a Clip that the range implies can be left out.
    """
    lows, highs = zip(*map(real_range, params), strict=True)
    bounds = min(bounds[0], 0.0), max(bounds[1], 0.0)
    low, high = max(min(lows), bounds[0]), min(max(highs), bounds[1])
    if len(params) == 1 and (low, high) == (lows[0], highs[0]):
        return params[0]
    found = qparams_from_range(low, high, spec)
    steps = spec.qmax - found.zero_point[0]
    if steps == 0 or bounds[1] < steps * SMALLEST_SCALE or steps * found.scale[0] <= bounds[1]:
        return found
    rounded_down = np.nextafter(np.float32(bounds[1] / steps), np.float32(0))
    return QParams.of(rounded_down, found.zero_point[0], spec.bits)
