"""GPTQ with the float layer's outputs as its aim: weights are rounded one input after the other, and the error of each is
taken back by the inputs that are still to come.

With H = X^T X / P of the quantized columns X, the outputs Y of the float layer and the upper Cholesky factor U of H^-1:
  aim      W* = W + (Y - X W^T)^T X / P (H + ridge · d · I)^-1     what is nearest to Y before any rounding; d: mean of diag H
  rounding inputs in the order of falling H_jj: q_j = round(w_j / s), w_k -= (w_j - q_j s) / U_jj · U_jk for all k > j
A weak ridge takes back more of what the layers in front have lost, but believes more of what the samples happen to show. So
several are offered, the last without any aim but W itself.
Source: Frantar et al., "GPTQ" (2023); the aim: Li et al., "GPTAQ: Finetuning-Free Quantization for Asymmetric Calibration"
(2025).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from amct_lite import scratch
from amct_lite.errors import ConfigError
from amct_lite.types import DoubleArray, IntArray
from amct_lite.weights.arq import Arq
from amct_lite.weights.base import WEIGHT_QUANTIZERS
from amct_lite.weights.reconstruction import Reconstruction

Order = NDArray[np.int64]
_RIDGES = (0.01, 0.1, 1.0)
# Errors reach the inputs behind a block in one product of matrices.
_BLOCK = 128
_HEAVY = 1 << 27
"""Bytes from which on a matrix is not held while another one is computed: that of 4,096 inputs."""


@WEIGHT_QUANTIZERS.register("gptq")
@dataclass(frozen=True)
class Gptq(Arq):
    """damping in (0, 1]: what is added to the diagonal of H before it is inverted, times the diagonal's mean."""

    damping: float = 0.01

    def __post_init__(self) -> None:
        if isinstance(self.damping, bool) or not isinstance(self.damping, int | float) or not 0 < self.damping <= 1:
            raise ConfigError(f"gptq: damping = {self.damping!r} must be a number in (0, 1].")
        object.__setattr__(self, "damping", float(self.damping))

    def candidates(self, task: Reconstruction) -> Iterator[IntArray]:
        """One for each ridge, one for the weight itself. The (G, n, n) matrices are what takes memory: three at a time, which
        numpy needs for an inverse; large ones lie in files in between."""
        moments, inputs = _aside(_moments(task)), task.rows.shape[1]
        group = len(moments)
        typical = np.einsum("gii->gi", moments).mean(axis=1)
        unit = np.where(typical > 0, typical, 1)
        order = np.argsort(-np.einsum("gii->gi", moments), axis=1, kind="stable").astype(np.int64)
        factor = _factor(_damped(moments, self.damping * unit), order)
        toward = _toward(task)
        rows = task.rows.astype(np.float64).reshape(group, -1, inputs)
        steps = np.broadcast_to(task.steps.astype(np.float64), (task.rows.shape[0], 1)).reshape(group, -1)
        for ridge in (*_RIDGES, None):
            aim = rows if ridge is None else rows + np.linalg.solve(_damped(moments, ridge * unit), toward).transpose(0, 2, 1)
            yield _round(aim, steps, factor, order, task.grid).reshape(task.rows.shape)


def _columns(task: Reconstruction) -> DoubleArray:
    """(G, P, n): X of each group."""
    return task.columns.transpose(1, 0, 2).astype(np.float64)


def _moments(task: Reconstruction) -> DoubleArray:
    """(G, n, n): H of each group."""
    columns = _columns(task)
    moments: DoubleArray = np.matmul(columns.transpose(0, 2, 1), columns) / columns.shape[1]
    return moments


def _toward(task: Reconstruction) -> DoubleArray:
    """(G, n, R): X^T (Y - X W^T)^T / P, what the outputs lack as the inputs see it."""
    columns = _columns(task)
    gap = (task.outputs - task.products(task.rows)).astype(np.float64).reshape(columns.shape[1], len(columns), -1)
    toward: DoubleArray = np.matmul(columns.transpose(0, 2, 1), gap.transpose(1, 0, 2)) / columns.shape[1]
    return toward


def _damped(moments: DoubleArray, amount: DoubleArray) -> DoubleArray:
    """(G, n, n): with `amount` (G,) added to the diagonals."""
    result = moments.copy()
    result.reshape(len(moments), -1)[:, :: moments.shape[1] + 1] += amount[:, None]
    return result


def _factor(moments: DoubleArray, order: Order) -> DoubleArray:
    """(G, n, n): the upper Cholesky factor of the inverse, inputs in `order`."""
    groups = np.arange(len(moments))[:, None, None]
    ordered = moments[groups, order[:, :, None], order[:, None, :]]
    del moments
    ordered = _aside(ordered)
    factor: DoubleArray = _aside(np.linalg.cholesky(np.linalg.inv(ordered))).transpose(0, 2, 1)
    return factor


def _aside(matrices: DoubleArray) -> DoubleArray:
    return scratch.put_away(matrices) if matrices.nbytes >= _HEAVY else matrices


def _round(rows: DoubleArray, steps: DoubleArray, factor: DoubleArray, order: Order, grid: tuple[int, int]) -> IntArray:
    """(G, R, n) int32 codes; rows: (G, R, n), steps: (G, R), order: (G, n)."""
    inputs = rows.shape[2]
    places = np.broadcast_to(order[:, None, :], rows.shape)
    left = np.take_along_axis(rows, places, 2)
    codes = np.empty_like(left)
    for start in range(0, inputs, _BLOCK):
        end = min(start + _BLOCK, inputs)
        errors = np.empty((*left.shape[:2], end - start))
        for at in range(start, end):
            codes[:, :, at] = np.clip(np.rint(left[:, :, at] / steps), *grid)
            error = (left[:, :, at] - codes[:, :, at] * steps) / factor[:, at, at, None]
            left[:, :, at:end] -= error[:, :, None] * factor[:, None, at, at:end]
            errors[:, :, at - start] = error
        left[:, :, end:] -= np.matmul(errors, factor[:, start:end, end:])
    result = np.empty_like(codes)
    np.put_along_axis(result, places, codes, 2)
    return result.astype(np.int32)
