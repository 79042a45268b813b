"""GPTQ with the float layer's outputs as its aim: weights are rounded one input after the other, and the error of each is
taken back by the inputs that are still to come.

With the quantized columns X, the outputs Y of the float layer, and L L^T = H + damping · d · I, where H = X^T X / P with the
inputs in the order of rising H_jj, d is the mean of these and L a lower triangle:
  aim      W* = W + (Y - X W^T)^T X / P (H + ridge · d · I)^-1     what is nearest to Y before any rounding
  rounding from the last input to the first: q_j = round((w_j + sum over k > j of (w_k - q_k s) L_kj / L_jj) / s)
These are the integers that GPTQ finds with the Cholesky factor of H^-1 in the opposite order. No inverse is needed, since what
all inputs so far have left is taken back at once.
A weak ridge takes back more of what the layers in front have lost, but believes more of what the samples happen to show. So
several are offered, the last without any aim but W itself.
Source: Frantar et al., "GPTQ" (2023); the aim: Li et al., "GPTAQ: Finetuning-Free Quantization for Asymmetric Calibration"
(2025); the rounding: Chen et al., "The Geometry of LLM Quantization: GPTQ as Babai's Nearest Plane Algorithm" (2025).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from amct_lite import scratch
from amct_lite.errors import ConfigError
from amct_lite.numerics.cholesky import WIDTH, factored, solve_in_place
from amct_lite.types import DoubleArray, FloatArray, IntArray
from amct_lite.weights.arq import Arq
from amct_lite.weights.base import WEIGHT_QUANTIZERS
from amct_lite.weights.reconstruction import Reconstruction

Order = NDArray[np.int64]
_RIDGES = (0.01, 0.1, 1.0)
# Errors reach the inputs in front of a block in one product of matrices.
_BLOCK = 128
_HEAVY = 1 << 25
"""Bytes from which on a matrix lies in a file: that of 2,048 inputs."""


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
        """One for each ridge, one for the weight itself. Of matrices (G, n, n), large ones lie in files."""
        columns = _columns(task)
        squares = np.einsum("gpi,gpi->gi", columns, columns) / columns.shape[1]
        typical = squares.mean(axis=1)
        unit = np.where(typical > 0, typical, 1)
        order: Order = np.argsort(-squares, axis=1, kind="stable")[:, ::-1]
        columns = np.take_along_axis(columns, order[:, None, :], 2)
        keep = scratch.put_away if 8 * len(order) * order.shape[1] ** 2 >= _HEAVY else _as_it_is
        moments, toward = _moments(columns, keep), keep(_toward(task, columns))
        del columns
        factor = factored(moments, self.damping * unit, keep)
        steps = np.broadcast_to(task.steps.astype(np.float64), (task.rows.shape[0], 1)).reshape(len(order), -1)
        for ridge in (*_RIDGES, None):
            aim = np.zeros_like(toward) if ridge is None else toward.copy()
            if ridge is not None:
                solve_in_place(factor if ridge == self.damping else factored(moments, ridge * unit, keep), aim)
            aim += _rows(task, order)
            yield _round(aim, steps, factor, order, task.grid).reshape(task.rows.shape)


def _columns(task: Reconstruction) -> DoubleArray:
    """(G, P, n): X of each group."""
    return task.columns.transpose(1, 0, 2).astype(np.float64)


def _rows(task: Reconstruction, order: Order) -> FloatArray:
    """(G, n, R): the weights of each group, inputs in `order`."""
    rows = task.rows.reshape(len(order), -1, task.rows.shape[1]).transpose(0, 2, 1)
    return np.take_along_axis(rows, order[:, :, None], 1)


def _moments(columns: DoubleArray, keep: Callable[[DoubleArray], DoubleArray]) -> tuple[DoubleArray, ...]:
    """H of each group in panels."""
    across, count = columns.transpose(0, 2, 1), columns.shape[1]
    starts = range(0, columns.shape[2], WIDTH)
    return tuple(keep(np.matmul(across[:, at:], columns[:, :, at : at + WIDTH]) / count) for at in starts)


def _toward(task: Reconstruction, columns: DoubleArray) -> DoubleArray:
    """(G, n, R): X^T (Y - X W^T)^T / P, what the outputs lack as the inputs see it."""
    gap = (task.outputs - task.products(task.rows)).astype(np.float64).reshape(columns.shape[1], len(columns), -1)
    toward: DoubleArray = np.matmul(columns.transpose(0, 2, 1), gap.transpose(1, 0, 2)) / columns.shape[1]
    return toward


def _as_it_is(array: DoubleArray) -> DoubleArray:
    return array


def _round(
    left: DoubleArray, steps: DoubleArray, factor: Sequence[DoubleArray], order: Order, grid: tuple[int, int]
) -> IntArray:
    """(G, R, n) int32 codes; steps: (G, R), order: (G, n). left: (G, n, R), what is aimed at; it becomes what rounding leaves
    of it."""
    codes = np.empty(left.shape, np.int32)
    for panel in reversed(factor):
        first = left.shape[1] - panel.shape[1]
        for end in range(panel.shape[2], 0, -_BLOCK):
            start = max(end - _BLOCK, 0)
            behind = np.matmul(panel[:, end:, start:end].swapaxes(1, 2), left[:, first + end :])
            block = panel[:, start:end, start:end].swapaxes(1, 2).copy()
            for at in reversed(range(end - start)):
                place = first + start + at
                beside = np.matmul(block[:, at, None, at + 1 :], left[:, place + 1 : first + end])[:, 0]
                wanted = left[:, place] + (behind[:, at] + beside) / block[:, at, at, None]
                codes[:, place] = np.clip(np.rint(wanted / steps), *grid)
                left[:, place] -= codes[:, place] * steps
    undone = np.argsort(order, axis=1)[:, :, None]
    return np.take_along_axis(codes, undone, 1).transpose(0, 2, 1)
