"""A learned rounding as it is kept: how far each code lies from the nearest one, and for which weight and scales this holds."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amct_lite import scratch
from amct_lite.types import FloatArray, IntArray, QParams
from amct_lite.weights.reconstruction import Reconstruction


@dataclass(frozen=True)
class Rounding:
    """moves: (C, n) int8, the code less the nearest one, modulo 256; in a file where they are large. weight: digest of the
    rows and their parameters.

    method: the rounder and its options. before, after: mean square errors of the layer's output with the nearest codes and
    with these, at positions that were not learned from.
    """

    moves: NDArray[np.int8]
    weight: str
    method: str
    before: float
    after: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "moves", scratch.put_away_large(self.moves))

    def __reduce__(self) -> tuple[Any, ...]:
        """Made anew where it arrives: what is large lies in a file there, too."""
        return Rounding, (self.moves, self.weight, self.method, self.before, self.after)

    @staticmethod
    def of(task: Reconstruction, codes: IntArray, method: str, before: float, after: float) -> Rounding:
        """The rounding that gives `codes` for the rows of `task`."""
        moves = (codes - task.nearest()).astype(np.int8)  # wraps: one of 256 values tells codes of 8 bits or fewer apart
        return Rounding(moves, _digest(task.rows, task.weight), method, before, after)

    def fits(self, rows: FloatArray, weight: QParams) -> bool:
        """Whether it was learned for just these rows (C, n) and parameters."""
        return self.moves.shape == rows.shape and self.weight == _digest(rows, weight)

    def codes(self, nearest: IntArray) -> IntArray:
        """(C, n) int32 codes from the nearest ones."""
        return (nearest.astype(np.int8) + self.moves).astype(np.int32)


def _digest(rows: FloatArray, weight: QParams) -> str:
    """SHA-256 of width, scales and weights."""
    numbers = (weight.scales, rows)
    return hashlib.sha256(bytes([weight.bits]) + b"".join(array.astype("<f4").tobytes() for array in numbers)).hexdigest()
