"""One layer as a problem of its own: which integers for its weight keep its output nearest to the float layer's.

Numpy alone: how columns and outputs come out of a network is not known here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from amct_lite.numerics.affine import quantize
from amct_lite.types import FloatArray, IntArray, QParams


@dataclass(frozen=True)
class Reconstruction:
    """rows: (C, n) float32, what each output channel is computed from. weight: its parameters, one scale or C.

    columns: (P, group, n) float32, what the rows are multiplied with at P output positions; the channels belong to the groups
    in their order. outputs: (P, C) float32, what the products should be. bias: (C,) float32, added to products and outputs.
    low, high: where the activation function behind the layer clips (-inf and inf without one).
    """

    rows: FloatArray
    weight: QParams
    columns: FloatArray
    outputs: FloatArray
    bias: FloatArray
    low: float = -np.inf
    high: float = np.inf

    @property
    def steps(self) -> FloatArray:
        """(C, 1) or (1, 1): the scales beside the rows."""
        return self.weight.scales[:, None]

    @property
    def grid(self) -> tuple[int, int]:
        """The smallest and the largest integer."""
        half = 1 << (self.weight.bits - 1)
        return -half, half - 1

    def nearest(self) -> IntArray:
        """(C, n) int32: each weight rounded for itself."""
        return quantize(self.rows, self.weight, None if self.weight.per_tensor else 0).astype(np.int32)

    def products(self, rows: FloatArray) -> FloatArray:
        """(P, C) float32: the columns multiplied with `rows` (C, n)."""
        grouped = rows.reshape(self.columns.shape[1], -1, rows.shape[1])
        products = np.matmul(self.columns.transpose(1, 0, 2), grouped.transpose(0, 2, 1))
        result: FloatArray = products.transpose(1, 0, 2).reshape(self.columns.shape[0], -1)
        return result

    def activated(self, products: FloatArray) -> FloatArray:
        """(P, C): what leaves the activation function."""
        result: FloatArray = np.clip(products + self.bias, self.low, self.high)
        return result

    def error(self, codes: IntArray) -> float:
        """Mean square of the difference that `codes` make behind the activation function."""
        noise = self.activated(self.products(codes * self.steps)) - self.activated(self.outputs)
        return float(np.square(noise, dtype=np.float64).mean())

    def parts(self, first: int) -> tuple[Reconstruction, Reconstruction]:
        """The first so many positions, and the others."""
        return (
            replace(self, columns=self.columns[:first], outputs=self.outputs[:first]),
            replace(self, columns=self.columns[first:], outputs=self.outputs[first:]),
        )

    def by_channels(self, count: int) -> tuple[Reconstruction, ...]:
        """Problems of `count` output channels each (one at least, fewer in the last); several groups stay together."""
        whole, count = self.rows.shape[0], max(1, count)
        if count >= whole or self.columns.shape[1] > 1:
            return (self,)
        return tuple(self._channels(slice(first, first + count)) for first in range(0, whole, count))

    def _channels(self, part: slice) -> Reconstruction:
        known = self.weight
        weight = known if known.per_tensor else QParams(known.scale[part], known.zero_point[part], known.bits)
        return replace(self, rows=self.rows[part], weight=weight, outputs=self.outputs[:, part], bias=self.bias[part])
