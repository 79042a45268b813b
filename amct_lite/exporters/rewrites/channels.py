"""Channels of zeros, for ONNX Runtime's convolution kernels: the fast ones take whole blocks of channels.

They change no value. A layer that has them computes more, and takes down to half the time.
"""

from __future__ import annotations

from math import prod

import numpy as np

from amct_lite import ir
from amct_lite.exporters.pairs import PAIR, is_wide, quantizer_in_front, read_grid
from amct_lite.exporters.rewrites.columns import fold_columns
from amct_lite.exporters.rewrites.convs import (
    DEPTHWISE_BLOCK,
    READ_BLOCK,
    WRITTEN_BLOCK,
    add_inputs,
    add_outputs,
    has_own_bias,
    is_dense,
    is_depthwise,
    join_groups,
    missing_channels,
    own_weight,
)
from amct_lite.exporters.rewrites.neighbours import kernel_in_front, private, read_alone, rounded_by, source_of
from amct_lite.ir.build import Inserter

_COLOUR = 3
_LARGE = 64 * 64
"""An image with less than three channels gains from more only if it has so many pixels."""
_CUT_ONCE = 14 * 14
"""A depthwise layer of so many pixels gains more than it takes to cut off the zeros behind it,"""
_CUT_TWICE = 64 * 64
"""and of fewer than these, in front of it as well."""
_JOINED = 64
"""A group of so many channels is as fast as one of all of them."""


def align(model: ir.Model) -> None:
    """Add channels of zeros where kernels want them, in place. `model`: all of its pairs are written."""
    convs = [node for node in model.graph if node.op_type == "Conv" and not node.domain]
    for conv in convs:
        _widen_depthwise(conv)
        _join_groups(conv)
    ir.infer_shapes(model)  # `fold_columns` asks for those of what has got wider
    for conv in convs:
        if _read_by_dense(conv):
            _widen_result(conv)
        fold_columns(conv)
        _widen_result(conv)
        _add_to_image(conv)


def _widen_depthwise(conv: ir.Node) -> None:
    """`conv` and the channels that it shares with the convolutions around it. Where others see its result, or what it reads,
    the zeros are cut off again for them: that pays if it has less than one block, or enough pixels."""
    missing, group = missing_channels(conv), ir.attribute(conv, "group", 1)
    quantize = quantizer_in_front(conv.inputs[0]) if missing else None
    front = kernel_in_front(quantize) if quantize is not None else None
    if quantize is None or front is None or not is_dense(front) or not has_own_bias(front) or not has_own_bias(conv):
        return
    pixels, rounded, alone = _pixels(conv.outputs[0]) or 0, rounded_by(conv) is not None, read_alone(conv) is front
    if alone:
        pays = bool(_read_by_dense(conv)) or (rounded and (group < DEPTHWISE_BLOCK or pixels >= _CUT_ONCE))
    else:
        pays = rounded and rounded_by(front) is quantize and _CUT_ONCE <= pixels < _CUT_TWICE
    if not pays:
        return
    if not alone:
        _cut_for_others(conv, quantize, missing)
    add_outputs(front, missing)
    ir.set_attribute(conv, "group", group + missing)
    _give_more(conv, missing)


def _cut_for_others(conv: ir.Node, quantize: ir.Node, missing: int) -> None:
    """All who read the codes but `conv` will find the last channels cut off."""
    _cut(quantize, missing, f"{conv.name}.aligned")
    b = Inserter(conv, f"{conv.name}.aligned")
    ir.replace_input(conv, 0, b.op("DequantizeLinear", quantize.outputs[0], *read_grid(conv.inputs[0])))


def _cut(quantize: ir.Node, missing: int, name: str) -> None:
    """All who read the codes now will find the last channels cut off."""
    codes, readers = quantize.outputs[0], ir.uses(quantize.outputs[0])
    b = Inserter.behind(quantize, name)
    bounds = [b.constant([bound], np.int64) for bound in (0, -missing, 1)]
    ir.redirect(codes, b.op("Slice", codes, *bounds), readers)


def _widen_result(conv: ir.Node) -> None:
    """A convolution over pixels that gives a few channels, as at the end of a super-resolution, takes less time for sixteen."""
    weight = own_weight(conv)
    if weight is None or not is_dense(conv) or weight.ndim != 4 or prod(weight.shape[2:]) == 1:
        return
    count, read = weight.shape[:2]
    if count < WRITTEN_BLOCK and read % READ_BLOCK == 0 and has_own_bias(conv) and rounded_by(conv) is not None:
        _give_more(conv, WRITTEN_BLOCK - count)


def _give_more(conv: ir.Node, missing: int) -> None:
    """So many channels of zeros more, which convolutions behind `conv` take over; for others the codes are cut off."""
    readers = _read_by_dense(conv)
    add_outputs(conv, missing)
    for use in readers:
        add_inputs(use.node, missing)
    quantize = None if readers else rounded_by(conv)
    if quantize is not None:
        _cut(quantize, missing, f"{conv.name}.aligned")


def _read_by_dense(conv: ir.Node) -> tuple[ir.Usage, ...]:
    """Those who read what `conv` computes, if all are convolutions that sum up its channels, and nobody else sees it."""
    behind = private(conv.outputs[0])
    readers = tuple(ir.uses(behind[-1])) if behind else ()
    return readers if all(use.idx == 0 and is_dense(use.node) for use in readers) else ()


def _join_groups(conv: ir.Node) -> None:
    """Depthwise kernels take one channel each; others multiply group by group, where a few channels take as long as many."""
    weight, group = own_weight(conv), ir.attribute(conv, "group", 1)
    if weight is None or is_depthwise(conv) or rounded_by(conv) is None:
        return
    read = weight.shape[1]
    join_groups(
        conv, max(count for count in range(1, group + 1) if group % count == 0 and (count == 1 or count * read <= _JOINED))
    )


def _add_to_image(conv: ir.Node) -> None:
    """Channels more to the codes that the first convolution reads."""
    front, weight = quantizer_in_front(conv.inputs[0]), own_weight(conv)
    if front is None or weight is None or not is_dense(conv) or len(weight) < WRITTEN_BLOCK:
        return
    missing = READ_BLOCK - weight.shape[1]
    if missing <= 0 or not (weight.shape[1] == _COLOUR or _is_large(front.inputs[0])):
        return
    if _is_channels_last(front) or is_wide(front):  # no integer kernel reads 16 bits, and ONNX Runtime (1.31) cannot pad them
        return
    add_inputs(conv, missing)
    b = Inserter(conv, f"{conv.name}.aligned")
    behind = [0] * weight.ndim
    behind[1] = missing
    pads = b.constant([*[0] * weight.ndim, *behind], np.int64)
    codes = b.op("Pad", front.outputs[0], pads, front.inputs[2], mode="constant")
    ir.replace_input(conv, 0, b.op("DequantizeLinear", codes, *read_grid(conv.inputs[0])))


def _is_channels_last(front: ir.Node) -> bool:
    """Whether `front` rounds an image whose channels were behind its pixels: ONNX Runtime leaves them there, where a Pad writes
    pixel by pixel and takes longer than the convolution."""
    node = source_of(front.inputs[0], PAIR)
    order = ir.attribute(node, "perm", ()) if node is not None and node.op_type == "Transpose" else ()
    return len(order) > 1 and order[1] == len(order) - 1


def _is_large(image: ir.Value | None) -> bool:
    pixels = _pixels(image)
    return pixels is not None and pixels >= _LARGE


def _pixels(image: ir.Value | None) -> int | None:
    sizes = ir.sizes_of(image, 2)
    return prod(sizes) if sizes is not None else None
