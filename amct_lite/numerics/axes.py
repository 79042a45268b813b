"""Between an array with channels anywhere and the (C, n) rows that everything per channel works on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from amct_lite.types import AnyArray


def to_rows(array: AnyArray, axis: int | None, *, groups: int = 1) -> AnyArray:
    """(C, n): one row a channel; a view where the memory allows, else a copy. None: the whole array is one row.

    groups: a grouped transposed convolution holds its weight as (Cin, Cout / groups, …); its output channels are group
    after group, so that C = groups * shape[axis], each with the input channels of its own group. The input channels of a
    grouped convolution (Cout, Cin / groups, …) lie in the same way.
    """
    if axis is None:
        return array.reshape(1, -1)
    if groups == 1:
        return np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1)
    grouped = array.reshape(groups, array.shape[0] // groups, *array.shape[1:])
    channels_second = np.moveaxis(grouped, (axis % array.ndim) + 1, 1)
    return channels_second.reshape(groups * array.shape[axis], -1)


def from_rows(rows: AnyArray, shape: Sequence[int], axis: int | None, *, groups: int = 1) -> AnyArray:
    """The array of `shape` whose rows these are: the inverse of `to_rows`."""
    shape = tuple(shape)
    if axis is None:
        return rows.reshape(shape)
    axis %= len(shape)
    if groups == 1:
        rest = shape[:axis] + shape[axis + 1 :]
        return np.moveaxis(rows.reshape(shape[axis], *rest), 0, axis)
    grouped = (groups, shape[0] // groups, *shape[1:])
    rest = grouped[1 : axis + 1] + grouped[axis + 2 :]
    return np.moveaxis(rows.reshape(groups, shape[axis], *rest), 1, axis + 1).reshape(shape)
