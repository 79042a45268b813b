"""A convolution of a finished model: its constants, and others in their place."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from amct_lite import ir
from amct_lite.exporters.rewrites.neighbours import private
from amct_lite.ir.windows import auto_pad_of, has_doubtful_pads, is_same_padded, same_pads
from amct_lite.types import AnyArray

GROWN = ".grown"
"""What the name of a tensor ends in that is the one of the float model, with channels more at the end."""
OTHER = ".channels"
"""What the name of a tensor ends in that holds other channels than the one of the float model."""
DEPTHWISE_BLOCK = 16
"""Channels that ONNX Runtime's depthwise kernel takes at a time."""
READ_BLOCK = 4
"""Channels that its kernel of a convolution over pixels reads at a time,"""
WRITTEN_BLOCK = 16
"""and those that it writes at a time: of other counts all take longer than if zeros fill them up."""


def own_dequantizer(conv: ir.Node, index: int) -> ir.Node | None:
    """What gives `conv`, and nobody else, its weight or bias."""
    value = conv.inputs[index] if index < len(conv.inputs) else None
    node = ir.producer_of(value)
    if value is None or node is None or node.op_type != "DequantizeLinear" or len(ir.uses(value)) != 1:
        return None
    return node if ir.constant_of(node.inputs[0]) is not None else None


def own_weight(conv: ir.Node) -> AnyArray | None:
    """The weight of a convolution as integers, where it is its own."""
    dequantize = own_dequantizer(conv, 1)
    return ir.constant_of(dequantize.inputs[0]) if dequantize is not None else None


def is_dense(conv: ir.Node) -> bool:
    return conv.op_type == "Conv" and own_weight(conv) is not None and ir.attribute(conv, "group", 1) == 1


def is_depthwise(conv: ir.Node) -> bool:
    """Whether each of several channels that `conv` reads gives one, by a weight that is its own."""
    weight = own_weight(conv) if conv.op_type == "Conv" else None
    group = ir.attribute(conv, "group", 1)
    return weight is not None and group > 1 and weight.shape[:2] == (group, 1)


def missing_channels(conv: ir.Node) -> int:
    """How many channels a depthwise convolution of images lacks to have whole blocks of them; 0 for others."""
    weight = own_weight(conv) if is_depthwise(conv) else None
    return -len(weight) % DEPTHWISE_BLOCK if weight is not None and weight.ndim == 4 else 0


def has_own_bias(conv: ir.Node) -> bool:
    """Whether the bias of `conv` can grow, if it has one."""
    return len(conv.inputs) < 3 or own_dequantizer(conv, 2) is not None


def known_pads(conv: ir.Node, kernel: tuple[int, ...]) -> list[int] | None:
    """Those in front of both axes, then those behind; None where not known, or where taps are apart."""
    if any(gap != 1 for gap in ir.attribute(conv, "dilations", [1, 1])):
        return None
    if auto_pad_of(conv) == "NOTSET":
        return ir.attribute(conv, "pads", [0] * 4)
    if not is_same_padded(conv):
        return [0] * 4
    image = ir.sizes_of(conv.inputs[0], 2)
    if image is None or has_doubtful_pads(conv, kernel):
        return None
    return same_pads(conv, image, kernel, ir.attribute(conv, "strides", [1, 1]))


def change_outputs(conv: ir.Node, change: Callable[[AnyArray], AnyArray], ending: str = OTHER) -> None:
    """Let `change` make other output channels of those of `conv`. ending: GROWN where it only adds some."""
    change_constants(conv, change)
    forget_channels(conv, ending)


def change_constants(conv: ir.Node, change: Callable[[AnyArray], AnyArray]) -> None:
    """Let `change` make others of all arrays that lie along the output channels: weight and bias, which must be the own ones
    of `conv`, their scales and their zero points where each channel has one."""
    for index in range(1, len(conv.inputs)):
        _change(conv, index, (0, 1, 2), change)


def change_weight(conv: ir.Node, change: Callable[[AnyArray], AnyArray]) -> None:
    """Let `change` make another of the codes of the weight, which must be the own one of `conv`; their scales stay."""
    _change(conv, 1, (0,), change)


def _change(conv: ir.Node, index: int, places: Iterable[int], change: Callable[[AnyArray], AnyArray]) -> None:
    """Of what is dequantized to the weight or bias of `conv`: codes, scale and zero point lie at the places 0 to 2."""
    dequantize = own_dequantizer(conv, index)
    assert dequantize is not None, "only of its own can be changed"
    graph = ir.graph_of(dequantize)
    for place in places:
        value = dequantize.inputs[place] if place < len(dequantize.inputs) else None
        array = ir.constant_of(value)
        if value is not None and array is not None and array.ndim:
            ir.replace_input(dequantize, place, ir.add_initializer(graph, str(value.name), change(array)))
    dequantize.outputs[0].shape = None


def add_outputs(conv: ir.Node, missing: int) -> None:
    """So many channels of zeros at the end of what `conv` computes, whose weight and bias are its own."""
    change_outputs(conv, lambda array: _wider(array, 0, missing), GROWN)


def add_inputs(conv: ir.Node, missing: int) -> None:
    """Weights of zero for so many channels more at the end of what `conv` reads, whose weight is its own."""
    change_weight(conv, lambda array: _wider(array, 1, missing))


def _wider(array: AnyArray, axis: int, missing: int) -> AnyArray:
    """Codes of zeros behind those of an axis; scales, which must not be zero, like the last one."""
    widths = [(0, missing if dimension == axis else 0) for dimension in range(array.ndim)]
    return np.pad(array, widths, mode="edge" if array.dtype.kind == "f" else "constant")


def join_groups(conv: ir.Node, count: int) -> None:
    """So many neighbouring groups of `conv`, whose weight is its own, become one, with weights of zero for the channels that
    they do not share."""
    group = ir.attribute(conv, "group", 1)
    if count > 1:
        change_weight(conv, lambda array: _joined(array, group, count))
        ir.set_attribute(conv, "group", group // count)


def _joined(weight: AnyArray, group: int, count: int) -> AnyArray:
    read = weight.shape[1]
    blocks = weight.reshape(group // count, count, len(weight) // group, *weight.shape[1:])
    wider = np.zeros((*blocks.shape[:3], count, *weight.shape[1:]), weight.dtype)
    for place in range(count):
        wider[:, place, :, place] = blocks[:, place]
    return wider.reshape(len(weight), count * read, *weight.shape[2:])


def forget_channels(conv: ir.Node, ending: str) -> None:
    """What `conv` computes holds other channels than in the float model, or more: its shape is no longer known, and its name
    says so, since tensors of the float model are found by name."""
    for value in private(conv.outputs[0]):
        value.shape = None
        mark(value, ending)


def mark(value: ir.Value, ending: str) -> None:
    """Let the name of `value` end so, once."""
    value.name = f"{str(value.name).removesuffix(ending)}{ending}"
