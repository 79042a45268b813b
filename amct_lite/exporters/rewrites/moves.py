"""Nodes that only move values, in other words for which ONNX Runtime has fast kernels. They move the same values.

It transposes six axes value by value, and repeats the pixels of codes so: a pixel shuffle takes a third of the time as
DepthToSpace, and a tenth what moves whole pixels, whose channels lie behind one another between its convolutions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from amct_lite import ir
from amct_lite.exporters.pairs import grid_of, pair_around, replace_codes
from amct_lite.exporters.rewrites.convs import change_outputs, has_own_bias, is_dense
from amct_lite.exporters.rewrites.layout import BLOCK, channels_first, channels_last
from amct_lite.exporters.rewrites.neighbours import read_alone
from amct_lite.exporters.rewrites.shuffles import shuffle_that_ends
from amct_lite.ir.build import Inserter

_MODES: Mapping[tuple[int, ...], tuple[str, int]] = {(0, 1, 4, 2, 5, 3): ("CRD", 1), (0, 3, 4, 1, 5, 2): ("DCR", 3)}
"""Order of the axes → ONNX's word for it, and the axis of the channels that remain."""
_USUAL = {"mode": "nearest", "coordinate_transformation_mode": "half_pixel", "nearest_mode": "round_prefer_floor"}
_REPEATING = {
    ("nearest", "asymmetric", "floor"),
    ("nearest", "half_pixel", "round_prefer_floor"),
    ("nearest", "half_pixel", "round_prefer_ceil"),
    ("nearest", "pytorch_half_pixel", "round_prefer_floor"),
    ("nearest", "pytorch_half_pixel", "round_prefer_ceil"),
}
"""What takes the pixel i // n for the pixel i of an image that is n times as large."""
_BEHIND_BATCH = 1
"""From this axis on sizes must be known; how many samples there are follows from them."""


def name_shuffle(join: ir.Node) -> None:
    """Let one DepthToSpace give what `join`, a Reshape, gives, if it is the end of a pixel shuffle of three nodes."""
    found = shuffle_that_ends(join)
    if found is None:
        return
    first, *others = found.fronts
    grids = {grid_of(front) for front in others if front is not None}
    if None in grids or grids - {grid_of(first)}:
        return
    mode, channel = _MODES.get(found.perm, ("", 0))
    before, parts, whole = (ir.sizes_of(value, _BEHIND_BATCH) for value in found.stages)
    if not mode or parts is None:
        return
    channels, height, width = parts[channel - 1], *parts[3:]
    block = parts[1]
    if sorted(parts[:3]) != sorted([channels, block, block]):
        return
    if before != (channels * block**2, height, width) or whole != (channels, height * block, width * block):
        return
    attributes = {"blocksize": block, "mode": mode}
    shuffle = ir.new_node("DepthToSpace", found.split.inputs[:1], name=f"{join.name}.shuffle", attributes=attributes)
    ir.insert_before(join, shuffle)
    ir.redirect(join.outputs[0], shuffle.outputs[0])


def repeat_pixels(resize: ir.Node) -> None:
    """Let codes be repeated where `resize`, between equal pairs, does no more than that."""
    pair, times = pair_around(resize), _times(resize)
    sizes = ir.sizes_of(pair[0].inputs[0], _BEHIND_BATCH) if pair is not None else None
    if pair is None or sizes is None or times is None:
        return
    channels, height, width = sizes
    b = Inserter(resize, f"{resize.name}.repeated")

    def repeat(pixels: ir.Value) -> ir.Value:
        return b.op("Expand", pixels, b.constant([1, 1, times[0], 1, times[1], 1], np.int64))

    apart, whole = [height, 1, width, 1, channels], [height * times[0], width * times[1], channels]
    _move_pixels(b, pair, apart, repeat, whole)


def spread_channels(shuffle: ir.Node) -> None:
    """Let the channels of `shuffle`, a DepthToSpace between equal pairs, become pixels while they lie behind one another: as
    blocks of those that stay, if there are some. The convolution in front gives them in that order."""
    pair, block = pair_around(shuffle), int(ir.attribute(shuffle, "blocksize", 1))
    sizes = ir.sizes_of(pair[0].inputs[0], _BEHIND_BATCH) if pair is not None else None
    if pair is None or sizes is None or sizes[0] < BLOCK * block**2:
        return
    channels, height, width = sizes[0] // block**2, *sizes[1:]
    if ir.attribute(shuffle, "mode", "DCR") == "CRD" and not _reordered(shuffle, channels, block):
        return
    b = Inserter(shuffle, f"{shuffle.name}.spread")
    apart, whole = [height, width, block, block * channels], [height * block, width * block, channels]
    _move_pixels(b, pair, apart, lambda pixels: b.op("Transpose", pixels, perm=[0, 1, 3, 2, 4]), whole)


def _move_pixels(
    b: Inserter, pair: tuple[ir.Node, ir.Node], apart: list[int], move: Callable[[ir.Value], ir.Value], whole: list[int]
) -> None:
    """Let who reads the codes of the second of `pair` read what `move` makes of those of the first, channels last: these are
    as `apart` before, as `whole` behind (the shapes of one sample)."""
    pixels = channels_last(b, pair[0].outputs[0])
    moved = move(b.op("Reshape", pixels, b.constant([-1, *apart], np.int64)))
    replace_codes(pair[1], channels_first(b, b.op("Reshape", moved, b.constant([-1, *whole], np.int64))))


def _reordered(shuffle: ir.Node, channels: int, block: int) -> bool:
    """Let the convolution in front give the channels that stay behind all others, if nobody else sees them; whether it does."""
    conv = read_alone(shuffle)
    if conv is None or not is_dense(conv) or not has_own_bias(conv):
        return False
    order = np.arange(channels * block**2).reshape(channels, block, block).transpose(1, 2, 0).reshape(-1)
    change_outputs(conv, lambda array: array[order])
    return True


def _times(resize: ir.Node) -> list[int] | None:
    """How many times each pixel stands below, and beside, itself, where that is all that `resize` does."""
    modes = [ir.attribute(resize, name, usual) for name, usual in _USUAL.items()]
    before, after = ir.sizes_of(resize.inputs[0], _BEHIND_BATCH), ir.sizes_of(resize.outputs[0], _BEHIND_BATCH)
    if before is None or after is None or len(before) != 3 or tuple(modes) not in _REPEATING or "axes" in resize.attributes:
        return None
    if not all(before):  # an empty image
        return None
    times = [new // old for new, old in zip(after, before, strict=True)]
    scales = ir.constant_of(resize.inputs[2]) if len(resize.inputs) == 3 else None  # a fourth input tells sizes
    told = scales.tolist() if scales is not None else [1, *times] if _keeps_batch(resize) else []
    whole = times[0] == 1 and after == tuple(size * count for size, count in zip(before, times, strict=True))
    return times[1:] if whole and told == [1, *times] else None


def _keeps_batch(resize: ir.Node) -> bool:
    """Whether `resize` is told sizes, and gives as many samples as it gets: sizes that are constant hold for one batch only."""
    if len(resize.inputs) < 4:
        return False
    sizes, dims = ir.constant_of(resize.inputs[3]), ir.dims_of(resize.inputs[0])
    return sizes is None or (dims is not None and sizes[0] == dims[0])
