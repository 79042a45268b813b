"""Batches of another size, where a model treats its samples apart from each other, which is tried out and not believed."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from amct_lite import ir
from amct_lite.calibration.tame import batch_size
from amct_lite.errors import CalibrationError, DataError
from amct_lite.runtime import RuntimeOptions, Session, open_session
from amct_lite.types import Feeds

MOST_ROWS = 4
_CLOSE = 1e-3
"""Of the largest output: sums in another order differ by far less, samples that are mixed by far more."""


def regroup(model: ir.Model, feeds: Sequence[Feeds], rows: int, options: RuntimeOptions) -> tuple[Feeds, ...]:
    """The samples of `feeds` in their order, up to `rows` in a batch; `feeds` as they are where that cannot be.

    Neighbours whose shapes differ stay apart.
    """
    if all(batch_size(batch) == 1 for batch in feeds) and rows == 1:
        return tuple(feeds)
    if not _open_batch(model) or not all(_has_rows(batch) for batch in feeds):
        return tuple(feeds)
    samples = [_row(batch, number) for batch in feeds for number in range(batch_size(batch))]
    pair = next(((a, b) for a, b in pairwise(samples) if _shapes(a) == _shapes(b)), None)
    if pair is None or not _independent(pair, open_session(model, options)):
        return tuple(feeds)
    groups: list[list[Feeds]] = []
    for sample in samples:
        if groups and len(groups[-1]) < rows and _shapes(groups[-1][0]) == _shapes(sample):
            groups[-1].append(sample)
        else:
            groups.append([sample])
    return tuple(_joined(group) for group in groups)


def _open_batch(model: ir.Model) -> bool:
    dims = [ir.dims_of(value) for value in model.graph.inputs]
    return bool(dims) and all(shape and not isinstance(shape[0], int) for shape in dims)


def _has_rows(batch: Feeds) -> bool:
    count = batch_size(batch)
    return all(array.ndim > 0 and array.shape[0] == count for array in batch.values())


def _row(batch: Feeds, number: int) -> Feeds:
    return {name: array[number : number + 1] for name, array in batch.items()}


def _shapes(batch: Feeds) -> dict[str, tuple[int, ...]]:
    return {name: array.shape for name, array in batch.items()}


def _joined(group: Sequence[Feeds]) -> Feeds:
    return {name: np.concatenate([batch[name] for batch in group]) for name in group[0]}


def _independent(pair: tuple[Feeds, Feeds], session: Session) -> bool:
    """Whether the outputs of two samples together are those of each of them."""
    try:
        together, *parts = (session.run(feeds) for feeds in (_joined(pair), *pair))
    except (CalibrationError, DataError):  # a batch is fixed somewhere inside
        return False
    for array, *apart in zip(together, *parts, strict=True):
        if any(part.ndim == 0 or part.shape[0] != 1 for part in apart) or array.shape[:1] != (2,):
            return False
        if any(part.shape[1:] != array.shape[1:] for part in apart):
            return False
        expected = np.concatenate(apart)
        if expected.dtype.kind == "f" and not np.allclose(
            array, expected, rtol=0, atol=_CLOSE * np.abs(expected).max(initial=0)
        ):
            return False
        if expected.dtype.kind != "f" and not np.array_equal(array, expected):
            return False
    return True
