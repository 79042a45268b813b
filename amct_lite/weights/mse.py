"""MSE-optimal weight scales: for each row the symmetric scale with the least squared error, by search on the true error.

Candidates are fractions of the min/max scale, first from 1 down to 1/10 in steps of 6 %, then around the best of them
in steps of 1 %. The min/max scale is among them, so a row is never worse than with ARQ.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from amct_lite.numerics.affine import qparams_from_range
from amct_lite.types import DoubleArray, FloatArray, QParams, QuantSpec
from amct_lite.weights.base import WEIGHT_QUANTIZERS, scale_rows

_COARSE = np.geomspace(1, 0.1, 40)
# The middle first: of equal errors the first wins, and a row without error keeps its scale.
_FINE = np.array(sorted(np.linspace(0.95, 1.05, 11).tolist(), key=lambda factor: abs(factor - 1)))
# Weights looked at together: with their two buffers they stay in the second-level cache.
_BLOCK = 1 << 16


@WEIGHT_QUANTIZERS.register("mse")
@dataclass(frozen=True)
class MseWeights:
    """No options."""

    def qparams(self, rows: FloatArray, spec: QuantSpec) -> QParams:
        rows = scale_rows(rows, spec)
        low, high = rows.min(axis=1, initial=0), rows.max(axis=1, initial=0)
        widest = qparams_from_range(low, high, replace(spec, symmetric=True)).scales.astype(np.float64)
        block = max(1, _BLOCK // max(rows.shape[1], 1))
        parts = [_search(rows[i : i + block], widest[i : i + block], spec) for i in range(0, rows.shape[0], block)]
        return QParams.of(np.concatenate(parts), 0, spec.bits)


def _search(rows: FloatArray, widest: DoubleArray, spec: QuantSpec) -> DoubleArray:
    """(C,) the best scale of each row."""
    coarse = _best(rows, widest, widest, _COARSE, spec)
    return _best(rows, coarse, widest, _FINE, spec)


def _best(rows: FloatArray, base: DoubleArray, widest: DoubleArray, factors: DoubleArray, spec: QuantSpec) -> DoubleArray:
    best, least = base, np.full(base.size, np.inf)
    for factor in factors.tolist():
        scale = np.minimum(base * factor, widest)
        error = _errors(rows, scale.astype(np.float32), spec)
        better = error < least
        best, least = np.where(better, scale, best), np.where(better, error, least)
    return best


def _errors(rows: FloatArray, scale: FloatArray, spec: QuantSpec) -> DoubleArray:
    """(C,) squared error of each row with its scale."""
    column = scale[:, None]
    total = np.zeros(scale.size)
    # A single long row (one scale for the whole weight) is taken in pieces as well.
    for start in range(0, rows.shape[1], _BLOCK):
        piece = rows[:, start : start + _BLOCK]
        steps = piece / column
        np.rint(steps, out=steps)
        np.clip(steps, spec.qmin, spec.qmax, out=steps)
        steps *= column
        steps -= piece
        total += np.einsum("ij,ij->i", steps, steps)
    return total
