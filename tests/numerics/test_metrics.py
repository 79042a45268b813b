"""Distances between arrays, and their answers where the formula has none."""

from __future__ import annotations

import math

import numpy as np
import pytest

from amct_lite.errors import NumericsError
from amct_lite.numerics.metrics import cosine, mse, sqnr_db

ZERO = np.zeros(3, dtype=np.float32)
SIGNAL = np.array([3, 0, 4], dtype=np.float32)


def test_values_worked_by_hand() -> None:
    other = np.array([3, 1, 4], dtype=np.float32)
    assert mse(SIGNAL, other) == pytest.approx(1 / 3)
    assert cosine(SIGNAL, other) == pytest.approx(25 / math.sqrt(25 * 26))
    assert sqnr_db(SIGNAL, other) == pytest.approx(10 * math.log10(25))


def test_identical_arrays() -> None:
    assert (mse(SIGNAL, SIGNAL), cosine(SIGNAL, SIGNAL), sqnr_db(SIGNAL, SIGNAL)) == (0, 1, math.inf)
    assert (mse(ZERO, ZERO), cosine(ZERO, ZERO), sqnr_db(ZERO, ZERO)) == (0, 1, math.inf)


def test_zero_signal() -> None:
    assert (cosine(ZERO, SIGNAL), sqnr_db(ZERO, SIGNAL)) == (0, -math.inf)


def test_empty_arrays_are_identical() -> None:
    assert (mse(ZERO[:0], ZERO[:0]), cosine(ZERO[:0], ZERO[:0])) == (0, 1)


def test_sums_are_double_and_whole() -> None:
    ones = np.ones((3, 100_000), dtype=np.float32)  # more than one chunk
    assert mse(ones, ones * 3) == 4
    assert mse(np.full(4, 1e30, dtype=np.float32), np.zeros(4, dtype=np.float32)) == pytest.approx(1e60)


def test_shapes_must_agree() -> None:
    with pytest.raises(NumericsError, match=r"shape \(3,\) with one of shape \(2,\)"):
        mse(ZERO, ZERO[:2])
