"""A learned rounding as it is kept: how far each code lies from the nearest one, and for which scales this holds."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from amct_lite.types import IntArray, QParams
from amct_lite.weights.reconstruction import Reconstruction


@dataclass(frozen=True)
class Rounding:
    """moves: (C, n) int8, the code less the nearest one, modulo 256. scales: digest of the weight's parameters.

    method: the rounder and its options. before, after: mean square errors of the layer's output with the nearest codes and
    with these, at positions that were not learned from.
    """

    moves: NDArray[np.int8]
    scales: str
    method: str
    before: float
    after: float

    @staticmethod
    def of(task: Reconstruction, codes: IntArray, method: str, before: float, after: float) -> Rounding:
        """The rounding that gives `codes` for the rows of `task`."""
        moves = (codes - task.nearest()).astype(np.int8)  # wraps: one of 256 values tells codes of 8 bits or fewer apart
        return Rounding(moves, scales_digest(task.weight), method, before, after)

    def fits(self, weight: QParams, shape: tuple[int, ...]) -> bool:
        """Whether it was learned for rows of `shape` with just these scales."""
        return self.scales == scales_digest(weight) and self.moves.shape == shape

    def codes(self, nearest: IntArray) -> IntArray:
        """(C, n) int32 codes from the nearest ones."""
        return (nearest.astype(np.int8) + self.moves).astype(np.int32)


def scales_digest(weight: QParams) -> str:
    """SHA-256 of width and scales."""
    return hashlib.sha256(bytes([weight.bits]) + weight.scales.astype("<f4").tobytes()).hexdigest()
