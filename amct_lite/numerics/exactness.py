"""Where float32 computes with integers exactly."""

from __future__ import annotations

import numpy as np

from amct_lite.types import AnyArray

FLOAT32_INTEGERS = 1 << 24
"""float32 holds every integer up to here."""


def sums_exactly_in_float32(rows: AnyArray, low: int, high: int, start: int = 0) -> bool:
    """Whether b + Σ w·x comes out exact in float32 for every row w and all integers |b| <= start and low <= x <= high,
    low <= 0 <= high, in whatever order this is added.

    rows: (C, n) integers. A partial sum lies between the sum of all negative products and the sum of all positive ones, so none
    is larger than these sums are for the worst x; as an integer of that size it is held exactly, and so is each product.
    """
    positive = np.maximum(rows, 0).sum(axis=1, dtype=np.int64)
    negative = positive - rows.sum(axis=1, dtype=np.int64)
    largest = np.maximum(positive * high - negative * low, negative * high - positive * low)
    return bool(largest.max(initial=0) + start <= FLOAT32_INTEGERS)
