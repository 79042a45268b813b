"""Large symmetric positive definite systems, a few hundred columns at a time.

A matrix (G, n, n), one for each of G groups, is a sequence of panels: its columns from the diagonal down, (G, n - first, WIDTH)
each, the last one narrower. So none is ever whole in memory if the panels lie in files; numpy's own functions hold two or three
of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from amct_lite.types import DoubleArray

WIDTH = 512


def factored(
    panels: Sequence[DoubleArray], added: DoubleArray, keep: Callable[[DoubleArray], DoubleArray]
) -> tuple[DoubleArray, ...]:
    """The panels of the lower Cholesky factor of a matrix with `added` (G,) on its diagonals; `keep` gives each its place.

    Raises numpy.linalg.LinAlgError where it is not positive definite.
    """
    factors: list[DoubleArray] = []
    for panel in panels:
        rest, width = panel.copy(), panel.shape[2]
        np.einsum("gii->gi", rest[:, :width])[:] += added[:, None]
        for before in factors:
            beside = before[:, -rest.shape[1] :]
            rest -= np.matmul(beside, beside[:, :width].swapaxes(1, 2))
        corner = rest[:, :width] = np.linalg.cholesky(rest[:, :width])
        rest[:, width:] = np.matmul(rest[:, width:], np.linalg.inv(corner).swapaxes(1, 2))
        factors.append(keep(rest))
    return tuple(factors)


def solve_in_place(factors: Sequence[DoubleArray], right: DoubleArray) -> None:
    """Make `right` (G, n, R) the solutions for the matrix whose lower Cholesky factor has the panels `factors`."""
    parts = [right[:, -factor.shape[1] :][:, : factor.shape[2]] for factor in factors]
    corners = [np.linalg.inv(factor[:, : factor.shape[2]]) for factor in factors]
    for number, factor in enumerate(factors):
        for before, solved in zip(factors[:number], parts, strict=False):
            parts[number] -= np.matmul(before[:, -factor.shape[1] :][:, : factor.shape[2]], solved)
        parts[number][:] = np.matmul(corners[number], parts[number])
    for factor, part, corner in zip(reversed(factors), reversed(parts), reversed(corners), strict=True):
        behind = right[:, right.shape[1] - factor.shape[1] + factor.shape[2] :]
        part -= np.matmul(factor[:, factor.shape[2] :].swapaxes(1, 2), behind)
        part[:] = np.matmul(corner.swapaxes(1, 2), part)
