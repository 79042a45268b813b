"""Systems solved panel by panel: as numpy solves them at once."""

import numpy as np
import pytest

from amct_lite.numerics.cholesky import factored, solve_in_place
from amct_lite.types import DoubleArray

INPUTS = 7


def matrices(groups: int = 2) -> DoubleArray:
    columns = np.random.default_rng(0).standard_normal((groups, 20, INPUTS))
    return np.matmul(columns.transpose(0, 2, 1), columns)


def panels(matrix: DoubleArray, width: int) -> list[DoubleArray]:
    return [matrix[:, at:, at : at + width] for at in range(0, INPUTS, width)]


@pytest.mark.parametrize("width", [1, 2, 3, 7, 9])
def test_panels_hold_the_factor_of_the_whole_matrix(width: int) -> None:
    added = np.array([0.5, 2.0])
    given = panels(matrices(), width)
    before = [panel.copy() for panel in given]
    expected = np.linalg.cholesky(matrices() + added[:, None, None] * np.eye(INPUTS))
    found = factored(given, added, lambda panel: panel)
    for panel, whole in zip(found, panels(expected, width), strict=True):
        np.testing.assert_allclose(panel, whole, rtol=1e-12, atol=1e-12)
    for panel, same in zip(given, before, strict=True):
        np.testing.assert_array_equal(panel, same)


@pytest.mark.parametrize("width", [1, 2, 3, 7, 9])
def test_solution_is_that_of_the_whole_matrix(width: int) -> None:
    right = np.random.default_rng(1).standard_normal((2, INPUTS, 4))
    expected = np.linalg.solve(matrices(), right)
    solve_in_place(factored(panels(matrices(), width), np.zeros(2), lambda panel: panel), right)
    np.testing.assert_allclose(right, expected, rtol=1e-10, atol=1e-12)


def test_every_panel_is_given_its_place_before_the_next_is_computed() -> None:
    kept: list[DoubleArray] = []

    def keep(panel: DoubleArray) -> DoubleArray:
        kept.append(panel)
        return panel.copy()

    found = factored(panels(matrices(1), 3), np.zeros(1), keep)
    assert [panel.shape for panel in kept] == [(1, 7, 3), (1, 4, 3), (1, 1, 1)]
    assert not any(np.shares_memory(panel, given) for panel, given in zip(found, kept, strict=True))


def test_matrix_that_is_not_positive_definite_is_refused() -> None:
    with pytest.raises(np.linalg.LinAlgError):
        factored(panels(-matrices(), 3), np.zeros(2), lambda panel: panel)
