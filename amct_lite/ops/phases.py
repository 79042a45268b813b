"""A ConvTranspose as one Conv for all its phases: the channels of each pixel that it gives are those of `block`² pixels.

With stride s, output s·q + r sums x[i] w[k] over all k = s·(q - i) + r + pad. For a phase r these are k = s·j + (r + pad) mod s
with i = q + (r + pad) // s - j: a convolution over q, whose taps are the offsets i - q of all phases together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from amct_lite import ir
from amct_lite.types import AnyArray


@dataclass(frozen=True)
class Phases:
    """block: the stride. sizes, before: of the kernel and of the padding in front, by axis."""

    block: int
    sizes: tuple[int, ...]
    before: tuple[int, ...]

    @property
    def pads(self) -> tuple[int, ...]:
        """As Conv wants them."""
        reach = [self._reach(axis) for axis in range(len(self.sizes))]
        return (*(-low for low, _ in reach), *(high for _, high in reach))

    def weight(self, transposed: AnyArray) -> AnyArray:
        """(block² · Cout, Cin, …) of (Cin, Cout, kernel): the channels of a pixel behind one another, rows of pixels first."""
        inputs, outputs = transposed.shape[:2]
        (low_y, high_y), (low_x, high_x) = (self._reach(axis) for axis in (0, 1))
        shape = self.block, self.block, outputs, inputs, high_y - low_y + 1, high_x - low_x + 1
        result = np.zeros(shape, transposed.dtype)
        for y, row, place_y in self._taps(0):
            for x, column, place_x in self._taps(1):
                result[y, x, :, :, place_y - low_y, place_x - low_x] = transposed[:, :, row, column].T
        return result.reshape(-1, *shape[3:])

    def _taps(self, axis: int) -> Iterator[tuple[int, int, int]]:
        """(phase, index in the kernel, offset of the input)."""
        for phase in range(self.block):
            shift, first = divmod(phase + self.before[axis], self.block)
            for step, index in enumerate(range(first, self.sizes[axis], self.block)):
                yield phase, index, shift - step

    def _reach(self, axis: int) -> tuple[int, int]:
        offsets = [0, *(offset for _, _, offset in self._taps(axis))]
        return min(offsets), max(offsets)


def phases_of(node: ir.Node, kernel: tuple[int, ...]) -> Phases | str:
    """Of a ConvTranspose that enlarges an image by its stride exactly, or why it has none. kernel: the sizes of its weight."""
    rank = len(kernel)
    strides = ir.attribute(node, "strides", [1] * rank)
    pads = ir.attribute(node, "pads", [0] * 2 * rank)
    more = ir.attribute(node, "output_padding", [0] * rank)
    if rank != 2:
        return f"it is no convolution over images, but over {'one dimension' if rank == 1 else f'{rank} dimensions'}"
    if ir.attribute(node, "group", 1) != 1:
        return "it has groups"
    if ir.attribute(node, "auto_pad", "NOTSET") != "NOTSET" or "output_shape" in node.attributes:
        return "its padding follows from the size of its output"
    if set(ir.attribute(node, "dilations", [1] * rank)) != {1}:
        return "its kernel is dilated"
    if len(set(strides)) != 1 or strides[0] < 2:
        return "its strides are not equal, or 1"
    enlarged = [size - pads[axis] - pads[axis + rank] + more[axis] for axis, size in enumerate(kernel)]
    if enlarged != list(strides):
        return "it gives other sizes than its stride times those it reads"
    return Phases(strides[0], kernel, tuple(pads[:rank]))
