"""The factors of a balanced layer: the contract's vectors, and the rules for channels that are zero."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from corpus import SHARED, needs_shared
from hypothesis import given
from hypothesis import strategies as st

from amct_lite.numerics.balance import balance_factors, balancing_gain_db
from amct_lite.record.layer import EPS

VECTORS = SHARED / "reference" / "vectors.json"


def vectors() -> list[dict[str, Any]]:
    cases = json.loads(VECTORS.read_text())["cases"] if VECTORS.is_file() else []
    return [case for case in cases if case["algo"] == "dmq"]


def array(*values: float) -> np.ndarray[Any, Any]:
    return np.array(values, dtype=np.float32)


@needs_shared
def test_there_are_vectors_for_three_strengths() -> None:
    assert [case["migration_strength"] for case in vectors()] == [0.2, 0.5, 0.8]


@pytest.mark.parametrize("case", vectors(), ids=lambda case: f"strength {case['migration_strength']}")
def test_factors_are_those_of_the_reference(case: dict[str, Any]) -> None:
    activation = np.abs(np.array(case["act"], dtype=np.float32)).max(axis=1)
    weight = np.abs(np.array(case["weight"], dtype=np.float32)).max(axis=1)
    # The reference computes in float32, whose powers may be off by a few units in the last place.
    np.testing.assert_allclose(balance_factors(activation, weight, case["migration_strength"]), case["factor"], rtol=1e-6)


def test_at_one_half_both_ranges_become_the_geometric_mean() -> None:
    factors = balance_factors(array(16, 1), array(1, 4), 0.5)
    assert factors.tolist() == [4.0, 0.5]  # 16/4 = 1*4; 1/0.5 = 4*0.5


def test_channels_that_are_zero_on_one_side_rise_to_the_others_largest() -> None:
    factors = balance_factors(array(16, 0, 0.5, 0), array(1, 0.5, 0, 0), 0.5)
    assert factors.tolist() == [4.0, 8.0, 0.125, 1.0]  # 0.5*8 = 1*4; 0.5/0.125 = 16/4; neither: 1


@pytest.mark.parametrize(("activation", "weight"), [((0, 0), (1, 2)), ((1, 2), (0, 0)), ((0, 3), (2, 0))])
def test_nothing_is_balanced_where_no_channel_has_both(activation: tuple[float, ...], weight: tuple[float, ...]) -> None:
    assert balance_factors(array(*activation), array(*weight), 0.5).tolist() == [1.0, 1.0]


magnitudes = st.lists(st.one_of(st.just(0.0), st.floats(2.0**-100, 2.0**100, width=32)), min_size=3, max_size=3)


@given(magnitudes, magnitudes, st.floats(0.2, 0.8))
def test_factors_stay_within_the_bounds_of_a_record(activation: list[float], weight: list[float], strength: float) -> None:
    factors = balance_factors(array(*activation), array(*weight), strength)
    assert factors.dtype == np.float32
    assert np.all((factors >= EPS) & (factors <= 1 / EPS))


def test_gain_of_balancing_worked_by_hand() -> None:
    """One channel 100 times larger, its weight 100 times smaller: plain 100^2 · (1 + 0.01^2), balanced 1^2 · (1 + 1)."""
    gain = balancing_gain_db(array(100, 1), np.array([[0.01], [1]], dtype=np.float32), 0.5)
    assert gain == pytest.approx(10 * np.log10(100**2 * 1.0001 / 2), abs=1e-3)
    assert balancing_gain_db(array(2, 2), np.array([[1], [1]], dtype=np.float32), 0.5) == pytest.approx(0, abs=1e-6)
    assert balancing_gain_db(array(0, 0), np.ones((2, 1), dtype=np.float32), 0.5) == 0
