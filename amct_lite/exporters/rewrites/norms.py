"""A BatchNormalization between integers becomes a depthwise Conv of single pixels, which takes a third to a tenth of the time.

    y = a·x + b per channel, x = s·(q - z)          y = s·|a|/n · (±n·(q - z) + m),  m/n the fraction next to b / (s·|a|)

The weight ±n, of one channel alone, is an integer without any rounding. The bias m would be rounded to a 127th of a code of x,
were n always 127; a fraction may have any denominator up to that, and the nearest one lies thirty times nearer on average.

s and z may differ from channel to channel, as behind a Concat of tensors that have their own: it joins codes then.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from amct_lite import ir
from amct_lite.exporters.pairs import UNSIGNED_SHIFT, grid_of, quantizer_in_front
from amct_lite.exporters.rewrites.convs import DEPTHWISE_BLOCK
from amct_lite.exporters.rewrites.neighbours import rounded_by
from amct_lite.flow.kernels import KERNELS, joins_channels
from amct_lite.ir.build import Inserter
from amct_lite.passes.channel_affine import ChannelAffine, batch_norm_affine
from amct_lite.types import AnyArray, DoubleArray, FloatArray

_LARGEST = 127
_BEYOND = 1 << 22
"""Where the bias is more than so many codes of x, scaled, all of x is less than a code of the result: only the bias is left."""
_NEAR = 0.125
"""Codes of the result that a bias may be off by. It can be more only where one code of x is worth more than thirty of them."""
_DENSE = 128
"""Where channels are left over that the depthwise kernel takes one by one, and there are no more than these in all, the product
with a diagonal matrix takes less time."""


@dataclass(frozen=True)
class Joined:
    """The codes (uint8) of an image whose channels have scales and zero points of their own, both (C,) float64. parts: what was
    joined."""

    codes: ir.Value
    parts: tuple[ir.Value, ...]
    scale: DoubleArray
    zero_point: DoubleArray


Joints = dict[ir.Value, Joined | None]
"""What was asked for before, None for what has no codes."""


@dataclass(frozen=True)
class Fractions:
    """weight: (C,) int8. bias: (C,) int32. scale: (C,) float32 > 0, what 1 of the weight is worth."""

    weight: AnyArray
    bias: AnyArray
    scale: FloatArray


def scale_channels(norms: Iterable[ir.Node]) -> None:
    """In place, for each of `norms` whose data are codes and whose result is rounded, unless it is finer by far."""
    known: Joints = {}
    for norm in norms:
        affine, source, behind = batch_norm_affine(norm), norm.inputs[0], grid_of(rounded_by(norm))
        if source is None or behind is None or not KERNELS[norm.op_type].taken(norm):
            continue
        assert isinstance(affine, ChannelAffine), "the kernel takes constants"
        if (grid := grid_of(quantizer_in_front(source))) is not None:
            data, step = source, grid[0]
        elif (joined := _joined(source, known, norm)) is not None:
            data, step = _one_each(norm, joined), 1.0
            own = ChannelAffine(joined.scale, joined.scale * (UNSIGNED_SHIFT - joined.zero_point))  # codes, less 128, to values
            affine = own.then(affine.scale, affine.shift)
        else:
            continue
        whole = fractions(affine, step)
        if np.abs(whole.bias * whole.scale.astype(np.float64) * step - affine.shift).max() <= _NEAR * behind[0]:
            _write(norm, data, whole, step)


def _one_each(norm: ir.Node, joined: Joined) -> ir.Value:
    """The codes of what `norm` reads, less 128."""
    b = Inserter(norm, f"{norm.name}.scaled")
    return b.op("DequantizeLinear", joined.codes, b.constant(1, np.float32), b.constant(UNSIGNED_SHIFT, np.uint8))


def fractions(affine: ChannelAffine, step: float) -> Fractions:
    """`affine`, of data in steps of `step`, in integers."""
    size = np.abs(affine.scale) * step
    smallest = np.finfo(np.float32).tiny * _LARGEST
    alone = (np.abs(affine.shift) > size * _BEYOND) | (size < smallest)
    worth = np.where(alone, np.maximum(np.abs(affine.shift) / _BEYOND, smallest), size)  # of 1 in the sum, over 1
    ratio = (affine.shift / worth)[:, None]
    denominators = np.arange(1, _LARGEST + 1)
    numerators = np.rint(ratio * denominators)
    nearest = np.abs(numerators / denominators - ratio).argmin(axis=1)
    weight = np.where(alone, 0, np.sign(affine.scale) * denominators[nearest])
    bias = np.take_along_axis(numerators, nearest[:, None], axis=1)[:, 0]
    scale = worth / step / denominators[nearest]
    return Fractions(weight.astype(np.int8), bias.astype(np.int32), scale.astype(np.float32))


def _joined(value: ir.Value, known: Joints, reader: ir.Node) -> Joined | None:
    """The codes of a tensor that is rounded as a whole, or of what a Concat makes of such; None of all others. What is added to
    the graph stands in front of `reader`."""
    if value not in known:
        known[value] = _rounded(value) or _concatenated(value, known, reader)
    return known[value]


def _rounded(value: ir.Value) -> Joined | None:
    front, dims = quantizer_in_front(value), ir.dims_of(value)
    grid = grid_of(front)
    if front is None or grid is None or dims is None or not isinstance(dims[1], int):
        return None
    codes, zero_point = front.outputs[0], ir.constant_of(front.inputs[2])
    if zero_point is None or zero_point.dtype != np.uint8:
        return None
    return Joined(codes, (codes,), np.full(dims[1], grid[0]), np.full(dims[1], float(grid[1])))


def _concatenated(value: ir.Value, known: Joints, reader: ir.Node) -> Joined | None:
    concat = value.producer()
    if concat is None or not joins_channels(concat):
        return None
    found = [part for one in concat.inputs if one is not None and (part := _joined(one, known, reader)) is not None]
    if len(found) < len(concat.inputs):
        return None
    parts = tuple(codes for part in found for codes in part.parts)
    pieces = _in_large_pieces(parts, known)
    codes = Inserter(reader, f"{concat.name}.codes").op("Concat", *pieces, axis=1) if len(pieces) > 1 else pieces[0]
    return Joined(codes, parts, np.concatenate([p.scale for p in found]), np.concatenate([p.zero_point for p in found]))


def _in_large_pieces(parts: tuple[ir.Value, ...], known: Joints) -> tuple[ir.Value, ...]:
    """`parts`, the first of which may be joined already: channels are copied pixel by pixel, and one copy of many takes less
    time than many copies of few."""
    joined = [joint for joint in known.values() if joint is not None and joint.parts == parts[: len(joint.parts)]]
    longest = max(joined, key=lambda joint: len(joint.parts))
    return longest.codes, *parts[len(longest.parts) :]


def _write(norm: ir.Node, data: ir.Value, whole: Fractions, step: float) -> None:
    b, channels = Inserter(norm, f"{norm.name}.scaled"), len(whole.scale)
    dense = channels % DEPTHWISE_BLOCK != 0 and channels <= _DENSE
    matrix = np.diag(whole.weight) if dense else whole.weight[:, None]
    codes, zeros = b.constant(matrix[:, :, None, None]), b.constant(np.zeros(channels), np.int8)
    weight = b.op("DequantizeLinear", codes, b.constant(whole.scale), zeros, axis=0)
    bias = b.op("DequantizeLinear", b.constant(whole.bias), b.constant(whole.scale * np.float32(step)), axis=0)
    given = {"group": 1 if dense else channels, "kernel_shape": [1, 1]}
    conv = ir.new_node("Conv", [data, weight, bias], name=str(norm.name), attributes=given)
    ir.insert_before(norm, conv)
    ir.replace_node(norm, conv.outputs[0])
