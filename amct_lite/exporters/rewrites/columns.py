"""Neighbouring pixels of a row become channels of one, for convolutions that read few channels.

ONNX Runtime copies what each result is made of before it multiplies, in a run of codes for each row of the kernel. Such a run
takes as long as some thousand products, however few channels it has: a kernel that computes several neighbours at once copies
less often, and multiplies more, by zeros. Channels lie behind their pixels there, so nothing is moved for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from amct_lite import ir
from amct_lite.exporters.rewrites.convs import (
    READ_BLOCK,
    WRITTEN_BLOCK,
    add_outputs,
    change_outputs,
    has_own_bias,
    is_dense,
    known_pads,
    own_weight,
)
from amct_lite.exporters.rewrites.layout import channels_first, channels_last
from amct_lite.exporters.rewrites.neighbours import rounded_by
from amct_lite.ir.build import Inserter
from amct_lite.types import AnyArray

_RUN = 2500
"""So many products take as long as to copy a run of codes: measured 3,200 with VNNI, less where products take longer."""
_RESULT = 100
"""So many as to round a result."""
_WORTH = 0.9
"""What must be left of the time."""
_LEAST = 512
"""Pixels of a result from which on it shows."""
_BLOCKS = (2, 4, 8)


@dataclass(frozen=True)
class Row:
    """How a kernel moves along the rows of an image: so many taps, at a stride, with pads in front."""

    taps: int
    stride: int
    front: int

    def at(self, block: int, result: int) -> tuple[int, int]:
        """The blocks of so many pixels that hold the first and the last tap for a result, of those of the block 0."""
        first = self.stride * result - self.front
        return first // block, (first + self.taps - 1) // block


@dataclass(frozen=True)
class Folded:
    """The same kernel for blocks of so many pixels, each of which gives `results`."""

    row: Row
    block: int

    @property
    def results(self) -> int:
        return self.block // self.row.stride

    @property
    def front(self) -> int:
        """Blocks of pads in front."""
        return -self.row.at(self.block, 0)[0]

    @property
    def behind(self) -> int:
        return self.row.at(self.block, self.results - 1)[1]

    @property
    def taps(self) -> int:
        """Blocks that the kernel sees."""
        return self.front + self.behind + 1

    def fits(self, pixels: int, results: int) -> bool:
        """Whether a row of so many pixels and results consists of whole blocks, each of which gives some of what it holds."""
        whole = pixels % self.block == 0 and self.block % self.row.stride == 0 and results * self.row.stride == pixels
        return whole and self.behind >= 0

    def missing(self, outputs: int) -> int:
        """Channels of zeros that fill up those of a block."""
        return -self.results * outputs % WRITTEN_BLOCK

    def weight(self, weight: AnyArray) -> AnyArray:
        """(outputs, inputs, rows, taps) → (results × outputs, block × inputs, rows, blocks)."""
        outputs, inputs, rows, taps = weight.shape
        spread = np.zeros((self.results, outputs, self.taps * self.block, inputs, rows), weight.dtype)
        for result in range(self.results):
            first = (self.front * self.block) + self.row.stride * result - self.row.front
            spread[result, :, first : first + taps] = weight.transpose(0, 3, 1, 2)
        blocks = spread.reshape(self.results * outputs, self.taps, self.block * inputs, rows)
        return blocks.transpose(0, 2, 3, 1)


def fold_columns(conv: ir.Node) -> None:
    """Let `conv` compute blocks of neighbours where that takes less time, and its codes be images again for all others."""
    weight, quantize = own_weight(conv), rounded_by(conv)
    if weight is None or weight.ndim != 4 or quantize is None or not is_dense(conv) or not has_own_bias(conv):
        return
    dequantize, pads = ir.producer_of(conv.inputs[0]), known_pads(conv, weight.shape[2:])
    if dequantize is None or dequantize.op_type != "DequantizeLinear" or pads is None:
        return
    strides = ir.attribute(conv, "strides", [1, 1])
    folded = _best(conv, weight.shape, Row(weight.shape[3], strides[1], pads[1]))
    if folded is None:
        return
    ir.set_attribute(conv, "auto_pad", "NOTSET")
    ir.set_attribute(conv, "kernel_shape", [weight.shape[2], folded.taps])
    ir.set_attribute(conv, "pads", [pads[0], folded.front, pads[2], folded.behind])
    ir.set_attribute(conv, "strides", [strides[0], 1])
    outputs, inputs = weight.shape[:2]
    _fold_images(conv, dequantize, folded.block * inputs)
    _unfold_results(quantize, f"{conv.name}.columns", folded, outputs)
    change_outputs(conv, lambda array: folded.weight(array) if array.ndim > 1 else np.tile(array, folded.results))
    add_outputs(conv, folded.missing(outputs))


def _fold_images(conv: ir.Node, dequantize: ir.Node, channels: int) -> None:
    """Let `conv` read the codes of `dequantize` as pixels of so many channels."""
    b = Inserter(conv, f"{conv.name}.columns")
    codes = _with_channels(b, channels_last(b, dequantize.inputs[0]), channels)
    ir.replace_input(conv, 0, b.op("DequantizeLinear", codes, *dequantize.inputs[1:3]))


def _unfold_results(quantize: ir.Node, name: str, folded: Folded, channels: int) -> None:
    """Let all who read the codes of `quantize` find pixels of so many channels, those of a block behind one another."""
    codes, readers = quantize.outputs[0], ir.uses(quantize.outputs[0])
    b = Inserter.behind(quantize, name)
    pixels = channels_last(b, codes)
    if missing := folded.missing(channels):
        pixels = b.op("Slice", pixels, *(b.constant([bound], np.int64) for bound in (0, -missing, 3)))
    ir.redirect(codes, _with_channels(b, pixels, channels), readers)


def _with_channels(b: Inserter, pixels: ir.Value, channels: int) -> ir.Value:
    """The same codes, in rows of pixels with so many channels."""
    return channels_first(b, b.op("Reshape", pixels, b.constant([0, 0, -1, channels], np.int64)))


def _best(conv: ir.Node, shape: tuple[int, ...], row: Row) -> Folded | None:
    """What takes least time, if it is worth it. shape: of the weight."""
    image, result = ir.sizes_of(conv.inputs[0], 2), ir.sizes_of(conv.outputs[0], 2)
    if image is None or result is None or prod(result) < _LEAST or row.taps == 1:
        return None
    outputs, inputs, rows, taps = shape
    rounding = _RESULT * outputs / rows

    def products(folded: Folded) -> float:
        """In place of the time for a row of the kernel, for each result of the image as it was."""
        computed = folded.results * outputs + folded.missing(outputs)
        return (_RUN + folded.taps * folded.block * inputs * computed) / folded.results + rounding

    choice = [Folded(row, block) for block in _BLOCKS]
    choice = [folded for folded in choice if folded.fits(image[1], result[1]) and folded.block * inputs % READ_BLOCK == 0]
    best = min(choice, key=products, default=None)
    as_it_is = _RUN + taps * max(inputs, READ_BLOCK) * (outputs + -outputs % WRITTEN_BLOCK) + rounding
    return best if best is not None and products(best) < _WORTH * as_it_is else None
