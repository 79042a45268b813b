"""Weights of -128, of which kernels on ARM cannot sum up two.

They add two products of int8 in 16 bits, and (-128)(-128) + (-128)(-128) is one more than these hold: what comes out is wrong
by half the range. So do those of depthwise convolutions on all processors, and without dot products all whose weights are
signed.
"""

from __future__ import annotations

import numpy as np

from amct_lite.types import AnyArray

_LOWEST = -128


def is_crowded(codes: AnyArray, axis: int) -> bool:
    """Whether one output, along `axis`, sums up several weights of -128."""
    return bool(_crowded(_sums(codes, axis)).any())


def with_one_extreme(codes: AnyArray, axis: int) -> AnyArray:
    """Of the weights of -128 that one output, along `axis`, sums up, all but the first become -127. `codes` itself where there
    is nothing to change."""
    sums = _sums(codes, axis)
    crowded = _crowded(sums)
    if not crowded.any():
        return codes
    spread = np.array(sums)
    few = spread[crowded]
    few[(few == _LOWEST) & (np.cumsum(few == _LOWEST, axis=1) > 1)] = _LOWEST + 1
    spread[crowded] = few
    shape = (codes.shape[axis], *np.delete(codes.shape, axis))
    return np.ascontiguousarray(np.moveaxis(spread.reshape(shape), 0, axis))


def _sums(codes: AnyArray, axis: int) -> AnyArray:
    return np.moveaxis(codes, axis, 0).reshape(codes.shape[axis], -1)


def _crowded(sums: AnyArray) -> AnyArray:
    crowded: AnyArray = (sums == _LOWEST).sum(axis=1) > 1
    return crowded
