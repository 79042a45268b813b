"""Distances between arrays, and their answers where the formula has none."""

from __future__ import annotations

import math

import numpy as np
import pytest

from amct_lite.errors import NumericsError
from amct_lite.numerics.metrics import cosine, cosine_from_error, mse, softmax_divergence, sqnr_db

ZERO = np.zeros(3, dtype=np.float32)
SIGNAL = np.array([3, 0, 4], dtype=np.float32)


def test_values_worked_by_hand() -> None:
    other = np.array([3, 1, 4], dtype=np.float32)
    assert mse(SIGNAL, other) == pytest.approx(1 / 3)
    assert cosine(SIGNAL, other) == pytest.approx(25 / math.sqrt(25 * 26))
    assert sqnr_db(SIGNAL, other) == pytest.approx(10 * math.log10(25))


def test_identical_arrays_have_no_error() -> None:
    assert (mse(SIGNAL, SIGNAL), cosine(SIGNAL, SIGNAL), sqnr_db(SIGNAL, SIGNAL)) == (0, 1, math.inf)
    assert (mse(ZERO, ZERO), cosine(ZERO, ZERO), sqnr_db(ZERO, ZERO)) == (0, 1, math.inf)


def test_cosine_from_sums_of_few_digits() -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(size=10_000)
    b = a + 0.003 * rng.normal(size=a.size)
    square, other, error = float(a @ a), float(b @ b), float((a - b) @ (a - b))
    exact = cosine(a, b)
    assert exact < 1 - 4e-6
    assert cosine_from_error(square, other, error) == pytest.approx(exact, abs=1e-12)  # float64 rounding
    # Both squares off alike by 1e-4, as float32 sums are: 1 - cos keeps all but its last digits.
    assert 1 - cosine_from_error(1.0001 * square, 1.0001 * other, error) == pytest.approx(1 - exact, rel=1e-3)
    assert (cosine_from_error(0, 0, 0), cosine_from_error(1, 1, 4)) == (1, -1)
    assert (cosine_from_error(0, 1, 1), cosine_from_error(1, 0, 1)) == (0, 0)


def test_an_error_on_a_zero_signal_is_total() -> None:
    assert (cosine(ZERO, SIGNAL), sqnr_db(ZERO, SIGNAL)) == (0, -math.inf)


def test_a_signal_of_which_nothing_is_left_has_the_error_of_all_of_it() -> None:
    assert (cosine(SIGNAL, ZERO), sqnr_db(SIGNAL, ZERO)) == (0, 0)


def test_empty_arrays_are_identical() -> None:
    assert (mse(ZERO[:0], ZERO[:0]), cosine(ZERO[:0], ZERO[:0])) == (0, 1)


def test_sums_are_double_and_whole() -> None:
    ones = np.ones((3, 100_000), dtype=np.float32)  # more than one chunk
    assert mse(ones, ones * 3) == 4
    assert mse(np.full(4, 1e30, dtype=np.float32), np.zeros(4, dtype=np.float32)) == pytest.approx(1e60)


def test_shapes_must_agree() -> None:
    with pytest.raises(NumericsError, match=r"shape \(3,\) with one of shape \(2,\)"):
        mse(ZERO, ZERO[:2])


LOG = np.array([1, -np.inf, 2, np.nan], dtype=np.float32)


def test_infinities_and_nan_in_the_same_places_are_no_difference() -> None:
    assert (mse(LOG, LOG), cosine(LOG, LOG), sqnr_db(LOG, LOG)) == (0, pytest.approx(1), math.inf)
    other = np.array([1, -np.inf, 3, np.nan], dtype=np.float32)
    assert sqnr_db(LOG, other) == pytest.approx(10 * math.log10(5))


@pytest.mark.parametrize("value", [0.0, np.inf, np.nan])
def test_what_is_infinite_in_one_alone_is_an_infinite_error(value: float) -> None:
    other = np.array([1, value, 2, np.nan], dtype=np.float32)
    for a, b in ((LOG, other), (other, LOG)):
        assert (mse(a, b), sqnr_db(a, b)) == (math.inf, -math.inf)
        assert cosine(a, b) == pytest.approx(1)  # of the rest


P, Q = np.array([0.5, 0.5]), np.array([0.8, 0.2])
KL = 0.5 * math.log(0.5 / 0.8) + 0.5 * math.log(0.5 / 0.2)


@pytest.mark.parametrize(
    ("shape", "count"),
    [((2,), 1), ((1, 2), 1), ((3, 2), 3), ((3, 4, 2), 12), ((3, 2, 4, 5), 60), ((1, 2, 1, 1, 1), 1)],
)
@pytest.mark.parametrize("logits", [True, False])
def test_classes_lie_on_axis_1_of_images_and_else_on_the_last(shape: tuple[int, ...], count: int, logits: bool) -> None:
    """Every distribution is the same pair, as probabilities or as logits, which any constant may be added to."""
    axis = 1 if len(shape) > 3 else -1
    place = [2 if number == axis % len(shape) else 1 for number in range(len(shape))]
    first, second = (np.broadcast_to(np.reshape(np.log(p) + 7 if logits else p, place), shape) for p in (P, Q))
    divergence, found = softmax_divergence(first, second)
    assert found == count
    assert divergence / count == pytest.approx(KL, rel=1e-9)


def test_probabilities_of_float16_are_no_logits_although_they_add_up_to_a_little_less_than_one() -> None:
    thirds, other = np.full(3, 1 / 3, dtype=np.float16), np.array([0.5, 0.25, 0.25])
    assert thirds.astype(np.float64).sum() < 1 - 1e-4
    divergence, _ = softmax_divergence(thirds, other)
    assert divergence == pytest.approx(np.log(4 / 3) * 2 / 3 - np.log(3 / 2) / 3, rel=0.01)  # of thirds that are exact


@pytest.mark.parametrize("shape", [(), (1,), (3, 1), (2, 1, 4, 4)])
def test_without_two_classes_there_is_no_divergence(shape: tuple[int, ...]) -> None:
    assert softmax_divergence(np.full(shape, 3.0), np.full(shape, 4.0)) == (0.0, 0)


def test_a_probability_of_zero_is_no_infinite_divergence() -> None:
    divergence, _ = softmax_divergence(np.array([1.0, 0.0]), np.array([0.0, 1.0]))
    assert divergence == pytest.approx(-math.log(np.finfo(np.float32).tiny))
    assert softmax_divergence(np.array([1.0, 0.0]), np.array([1.0, 0.0])) == (0.0, 1)
