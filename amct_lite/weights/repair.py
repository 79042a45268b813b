"""Raises weight scales where a bias would not fit the int32 accumulator."""

from __future__ import annotations

import numpy as np

from amct_lite.types import AnyArray, FloatArray

# Half of int32's range is left to the products that are added to the bias.
LARGEST_BIAS = 1 << 30


def raise_scales(weight_scale: AnyArray, bias: AnyArray, activation_scale: float) -> tuple[FloatArray, tuple[int, ...]]:
    """(new scales float32, indices of the scales that were raised), so that |bias / (scale_d * scale_w)| <= 2^30.

    weight_scale: (C,) or (1,); bias: (C,). A scale that is large enough stays as it is, bit for bit; a single scale is
    raised to what the largest bias needs. A raised scale is the smallest that fits (to one in a million): such a
    channel's weights are so small beside its bias that the coarser grid costs nothing.
    """
    scales = np.asarray(weight_scale, dtype=np.float32).reshape(-1)
    magnitude = np.abs(np.asarray(bias, dtype=np.float64)).reshape(-1)
    if scales.size == 1:
        magnitude = magnitude.max(initial=0.0, keepdims=True)
    needed = magnitude / (LARGEST_BIAS * float(np.float32(activation_scale)))
    # The product of the scales is rounded to float32 when it is used, hence the millionth.
    too_small = scales < needed
    raised = np.where(too_small, needed * (1 + 1e-6), scales).astype(np.float32)
    return raised, tuple(np.flatnonzero(too_small).tolist())
