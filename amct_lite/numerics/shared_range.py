"""One range for several tensors, a range that does not go beyond what its tensor can be, and one for two factors."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

import numpy as np

from amct_lite.numerics.affine import SMALLEST_SCALE, qparams_from_range, real_range
from amct_lite.types import QParams, QuantSpec

MOST_WIDENED = 1.1
"""How much larger a scale may become to save a rounding: this costs less than 1 dB."""
WHOLE = 1e-3
"""So near to a whole number of steps, no code comes out otherwise."""


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


def reaching(params: QParams, reach: float) -> QParams:
    """Asymmetric `params` whose scale is `reach` divided by a whole number, and whose range begins at -`reach` or below: so the
    codes of x are those of x + `reach` as well. As they are where the scale would become larger by more than MOST_WIDENED.
    """
    spec, before = QuantSpec(params.bits), params.scale[0]
    low, high = real_range(params)
    lowest = low if low < -reach - before / 2 else -reach
    steps = int((spec.qmax - spec.qmin) * reach / (high - lowest))
    if steps == 0 or reach / steps > MOST_WIDENED * before:
        return params
    nearest = np.float32(reach / steps)
    scale = float(nearest if steps * float(nearest) <= reach else np.nextafter(nearest, np.float32(0)))
    return QParams.of(scale, max(spec.qmin, spec.qmin - round(lowest / scale)), params.bits)


def gate_of(source: QParams, alpha: float, reach: float) -> QParams | None:
    """The parameters with which clip(alpha · (x + reach), 0, 1) has the codes of x, whose parameters are `source`, kept within
    those of 0 and 1; None where there are none.

        alpha · (s·(q - z) + reach) = alpha·s · (q - (z - reach/s))
    """
    scale, zero_point = source.scale[0], source.zero_point[0]
    steps = round(reach / scale)
    if abs(steps * scale - reach) > WHOLE * scale or zero_point - steps < QuantSpec(source.bits).qmin:
        return None
    return QParams.of(scale * alpha, zero_point - steps, source.bits)
