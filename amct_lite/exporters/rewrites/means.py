"""Means of windows, between pairs, as depthwise convolutions with equal weights.

ONNX Runtime takes 5 to 30 times as long to pool codes, but for one window over the whole image.

Where what lies outside the image does not count, a window that reaches beyond it is a smaller one. The image is cut so that all
windows of a piece have one size; each piece is a convolution, and what they give is joined.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from amct_lite import ir
from amct_lite.exporters.pairs import quantizer_in_front
from amct_lite.exporters.rewrites.neighbours import rounded_by
from amct_lite.flow.kernels import KERNELS
from amct_lite.ir.build import Inserter
from amct_lite.ir.windows import is_same_padded, kernel_of, pads_of, same_pads, strides_of

_STRETCHES = 3
"""A border on either side and what is between make nine pieces, which take less time"""
_CODES = 10_000
"""from so many codes on (`tools/bench/kernels.py borders`: 32 channels of 14x14 0.8 to 1.1, of 7x7 1.2 to 1.7, but 16 of 32x32
0.4, 512 of 7x7 0.6 to 0.7, 192 of 35x35 0.2)."""


@dataclass(frozen=True)
class Stretch:
    """Along one axis: `count` windows of one `size`, the first of which begins at `start`."""

    start: int
    size: int
    count: int

    def end(self, stride: int) -> int:
        return self.start + (self.count - 1) * stride + self.size


@dataclass(frozen=True)
class Windows:
    """Along one axis of `length`: `count` windows, each `stride` behind the one before; `before`: padding in front of all."""

    length: int
    size: int
    stride: int
    before: int
    count: int

    def stretches(self) -> tuple[Stretch, ...]:
        """What of the windows lies inside the image."""
        found: list[Stretch] = []
        for start in range(-self.before, -self.before + self.count * self.stride, self.stride):
            inside = range(max(start, 0), min(start + self.size, self.length))
            last = found[-1] if found else None
            if last and last.size == len(inside) and inside.start == last.start + last.count * self.stride:
                found[-1] = replace(last, count=last.count + 1)
            else:
                found.append(Stretch(inside.start, len(inside), 1))
        return tuple(found)


def average(pool: ir.Node) -> None:
    """`pool`: an AveragePool; it stays unless it is one of images of known sizes, between pairs."""
    front, behind, sizes = quantizer_in_front(pool.inputs[0]), rounded_by(pool), _sizes(pool)
    if front is None or behind is None or sizes is None or not KERNELS[pool.op_type].taken(pool):
        return
    mean, axes = _Mean(pool, sizes[0]), _axes(pool, sizes)
    if all(axis.count == 1 and axis.size >= axis.length for axis in axes):
        return
    stretches = [axis.stretches() for axis in axes]
    reaches_beyond = any(stretch.size < axis.size for axis, parts in zip(axes, stretches, strict=True) for stretch in parts)
    if reaches_beyond and ir.attribute(pool, "count_include_pad", 0):
        if not is_same_padded(pool) and not ir.attribute(pool, "ceil_mode", 0):
            mean.replace([axis.size for axis in axes], pads_of(pool))
    elif all(len(one) == 1 and one[0].start == 0 for one in stretches):
        mean.replace([one[0].size for one in stretches], (0, 0, 0, 0))
    elif all(map(_is_cut_cheaply, stretches)) and prod(sizes[:3]) >= _CODES and _is_read_by(behind, pool):
        mean.join_pieces(front, behind, stretches)


def _is_read_by(quantize: ir.Node, pool: ir.Node) -> bool:
    """Without a Relu between them."""
    return quantize.inputs[0] is pool.outputs[0]


def _is_cut_cheaply(stretches: Sequence[Stretch]) -> bool:
    return len(stretches) <= _STRETCHES and all(stretch.size > 0 for stretch in stretches)


class _Mean:
    """Writes convolutions for `pool`, whose image has so many `channels`."""

    def __init__(self, pool: ir.Node, channels: int) -> None:
        self._pool = pool
        self._channels = channels
        self._b = Inserter(pool, f"{pool.name}.mean")

    def replace(self, kernel: Sequence[int], pads: Sequence[int]) -> None:
        """Node and tensor keep their names: who compares tensors by name finds the same values."""
        mean = self._conv(self._pool.inputs[0], kernel, pads)
        conv = mean.producer()
        assert conv is not None
        conv.name = self._pool.name
        ir.replace_node(self._pool, mean)

    def join_pieces(self, front: ir.Node, behind: ir.Node, stretches: Sequence[Sequence[Stretch]]) -> None:
        """Let who reads the codes of `behind` read what becomes of pieces of those of `front`."""

        def piece(row: Stretch, column: Stretch) -> ir.Value:
            ends = [one.end(stride) for one, stride in zip((row, column), strides_of(self._pool), strict=True)]
            bounds = [self._b.constant(array, np.int64) for array in ([row.start, column.start], ends, [2, 3])]
            data = self._b.op("DequantizeLinear", self._b.op("Slice", front.outputs[0], *bounds), *front.inputs[1:3])
            return self._b.op("QuantizeLinear", self._conv(data, [row.size, column.size], (0, 0, 0, 0)), *behind.inputs[1:3])

        rows = [self._joined([piece(row, column) for column in stretches[1]], axis=3) for row in stretches[0]]
        ir.redirect(behind.outputs[0], self._joined(rows, axis=2))

    def _joined(self, pieces: Sequence[ir.Value], axis: int) -> ir.Value:
        return pieces[0] if len(pieces) == 1 else self._b.op("Concat", *pieces, axis=axis)

    def _conv(self, data: ir.Value | None, kernel: Sequence[int], pads: Sequence[int]) -> ir.Value:
        codes = self._b.constant(np.ones((self._channels, 1, *kernel), np.int8))
        share = self._b.constant(1 / prod(kernel), np.float32)
        weight = self._b.op("DequantizeLinear", codes, share, self._b.constant(0, np.int8))
        given = {"kernel_shape": list(kernel), "strides": strides_of(self._pool), "pads": list(pads)}
        return self._b.op("Conv", data, weight, group=self._channels, **given)  # type: ignore[arg-type] # lists


def _sizes(pool: ir.Node) -> tuple[int, ...] | None:
    """Channels, height and width of the image, height and width of the result, if all are known."""
    image, result = ir.sizes_of(pool.inputs[0], 1), ir.sizes_of(pool.outputs[0], 2)
    if image is None or result is None or (len(image), len(result)) != (3, 2) or min(*image, *result) < 1:
        return None
    return *image, *result


def _axes(pool: ir.Node, sizes: Sequence[int]) -> tuple[Windows, Windows]:
    lengths, kernel, strides = sizes[1:3], kernel_of(pool), strides_of(pool)
    pads = same_pads(pool, lengths, kernel, strides) if is_same_padded(pool) else pads_of(pool)
    rows, columns = (Windows(*axis) for axis in zip(lengths, kernel, strides, pads[:2], sizes[3:], strict=True))
    return rows, columns
