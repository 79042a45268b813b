"""Feeds without their wild samples, for everything that is measured on a few kept batches."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from math import prod

import numpy as np

from amct_lite.types import AnyArray, Feeds


def batch_size(feeds: Feeds) -> int:
    """How many samples a batch holds: the common leading dimension, 1 when there is none.

    Inputs of a single number, such as a flag, belong to the whole batch and do not count. Where no input has a second axis, the
    first one runs through a sample: the bytes of a file, a signal, the words of a text.
    """
    return shared_rows(array.shape for array in feeds.values())


def shared_rows(shapes: Iterable[tuple[int, ...]]) -> int:
    """`batch_size`, from the shapes alone."""
    counted = [shape for shape in shapes if prod(shape) > 1]
    sizes = {shape[0] for shape in counted}
    return sizes.pop() if len(sizes) == 1 and any(len(shape) > 1 for shape in counted) else 1


def without_samples(batches: Sequence[Feeds], wild: Collection[int]) -> tuple[Feeds, ...]:
    """`batches` without the samples numbered `wild`, counted from 0 over all batches; the arrays are not modified.

    A batch keeps its size, which the model may have fixed: a tame sample stands in for a wild one. A batch that has none
    is left out, unless that leaves nothing.
    """
    tame: list[Feeds] = []
    first = 0
    for feeds in batches:
        size = batch_size(feeds)
        rows = np.arange(size)
        good = rows[~np.isin(rows + first, list(wild))]
        first += size
        if good.size == size:
            tame.append(feeds)
        elif good.size:
            chosen = np.where(np.isin(rows, good), rows, good[0])
            tame.append({name: _rows(array, chosen) for name, array in feeds.items()})
    return tuple(tame) or tuple(batches)


def _rows(array: AnyArray, chosen: AnyArray) -> AnyArray:
    return array[chosen] if array.ndim and array.shape[0] == chosen.size else array
