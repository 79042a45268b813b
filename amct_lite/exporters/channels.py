"""Channels of zeros, for ONNX Runtime's convolution kernels: the fast ones take whole blocks of channels.

They change no value. A layer that has them computes more, and takes down to half the time.
"""

from __future__ import annotations

from math import prod

import numpy as np

from amct_lite import ir
from amct_lite.exporters.pairs import quantizer_in_front
from amct_lite.flow.kernels import BOUNDS
from amct_lite.ir.build import Inserter
from amct_lite.types import AnyArray

_READ = 4
"""Channels of an image that the kernel of the first convolution reads at a time,"""
_WRITTEN = 16
"""if it writes as many as these; and the block of the depthwise kernel."""
_COLOUR = 3
_LARGE = 64 * 64
"""An image with less than three channels gains from more only if it has so many pixels."""
_JOINED = 64
"""A group of so many channels is as fast as one of all of them."""
_PASSING = BOUNDS | {"QuantizeLinear", "DequantizeLinear"}


def align(model: ir.Model) -> None:
    """Add channels of zeros where kernels want them, in place. `model`: all of its pairs are written."""
    convs = [node for node in model.graph if node.op_type == "Conv" and not node.domain]
    for conv in convs:
        _widen_depthwise(conv)
        _join_groups(conv)
    for conv in convs:
        _add_to_image(conv)


def _dequantizer(conv: ir.Node, index: int) -> ir.Node | None:
    """What gives `conv`, and nobody else, its weight or bias."""
    value = conv.inputs[index] if index < len(conv.inputs) else None
    node = value.producer() if value is not None else None
    if value is None or node is None or node.op_type != "DequantizeLinear" or len(ir.uses(value)) != 1:
        return None
    return node if ir.constant_of(node.inputs[0]) is not None else None


def _weight(conv: ir.Node) -> AnyArray | None:
    """The weight of a convolution as integers, where it is its own."""
    dequantize = _dequantizer(conv, 1)
    return ir.constant_of(dequantize.inputs[0]) if dequantize is not None else None


def _is_dense(conv: ir.Node) -> bool:
    return conv.op_type == "Conv" and _weight(conv) is not None and ir.attribute(conv, "group", 1) == 1


def _widen_depthwise(conv: ir.Node) -> None:
    """`conv` and the channels that it shares with the convolutions around it, if they are the only ones that see them."""
    weight, group = _weight(conv), ir.attribute(conv, "group", 1)
    if weight is None or weight.ndim != 4 or weight.shape[:2] != (group, 1) or not 0 < (missing := -group % _WRITTEN) <= group:
        return
    front = _computed_by(conv)
    before, behind = (_private(front.outputs[0]), _private(conv.outputs[0])) if front is not None else ((), ())
    readers = ir.uses(behind[-1]) if behind else ()
    if front is None or not before or not readers or [use.node for use in ir.uses(before[-1])] != [conv]:
        return
    if not _is_dense(front) or not all(_is_dense(use.node) and use.idx == 0 for use in readers):
        return
    if any(len(node.inputs) > 2 and _dequantizer(node, 2) is None for node in (front, conv)):
        return
    for node in (front, conv):
        _extend(node, 1, 0, missing)
        if len(node.inputs) > 2:
            _extend(node, 2, 0, missing)
    for use in readers:
        _extend(use.node, 1, 1, missing)
    ir.set_attribute(conv, "group", group + missing)
    for value in (*before, *behind):
        value.shape = None


def _join_groups(conv: ir.Node) -> None:
    """Neighbouring groups become one, with weights of zero for the channels that they do not share. Depthwise kernels take one
    channel each; all others multiply group by group, where a few channels take as long as many."""
    dequantize, group = _dequantizer(conv, 1), ir.attribute(conv, "group", 1)
    weight = _weight(conv)
    if dequantize is None or weight is None or weight.shape[:2] == (group, 1) or not _gives_codes(conv):
        return
    read = weight.shape[1]
    joined = max(count for count in range(1, group + 1) if group % count == 0 and (count == 1 or count * read <= _JOINED))
    if joined == 1:
        return
    blocks = weight.reshape(group // joined, joined, len(weight) // group, *weight.shape[1:])
    wider = np.zeros((*blocks.shape[:3], joined, *weight.shape[1:]), weight.dtype)
    for place in range(joined):
        wider[:, place, :, place] = blocks[:, place]
    graph = conv.graph
    assert isinstance(graph, ir.Graph)
    array = wider.reshape(len(weight), joined * read, *weight.shape[2:])
    ir.replace_input(dequantize, 0, ir.add_initializer(graph, f"{conv.name}.weight.joined", array))
    dequantize.outputs[0].shape = None
    ir.set_attribute(conv, "group", group // joined)


def _gives_codes(conv: ir.Node) -> bool:
    """Whether nobody but a QuantizeLinear sees what it computes: its kernel is an integer one."""
    return any(use.node.op_type == "QuantizeLinear" for value in _private(conv.outputs[0]) for use in ir.uses(value))


def _computed_by(conv: ir.Node) -> ir.Node | None:
    """The node whose result `conv` reads, rounded and perhaps kept within bounds."""
    value = conv.inputs[0]
    node = value.producer() if value is not None else None
    while node is not None and node.op_type in _PASSING:
        value = node.inputs[0]
        node = value.producer() if value is not None else None
    return node


def _private(value: ir.Value) -> tuple[ir.Value, ...]:
    """`value` and what is made of it on the way to the layers that read it; empty if it is seen elsewhere, too."""
    found = [value]
    while len(readers := ir.uses(found[-1])) == 1 and readers[0].node.op_type in _PASSING:
        found.append(readers[0].node.outputs[0])
    return () if any(one.is_graph_output() for one in found) else tuple(found)


def _extend(conv: ir.Node, index: int, axis: int, missing: int) -> None:
    """So many zeros more along `axis` of a weight or bias; where each channel has a scale, they have the last one's."""
    dequantize = _dequantizer(conv, index)
    assert dequantize is not None
    graph = dequantize.graph
    assert isinstance(graph, ir.Graph)
    for place, value in enumerate(dequantize.inputs):
        array = ir.constant_of(value)
        if array is None or (place > 0 and (array.size == 1 or axis != 0)):
            continue
        widths = [(0, missing if dimension == axis else 0) for dimension in range(array.ndim)]
        wider = np.pad(array, widths, mode="edge") if place == 1 else np.pad(array, widths)
        ir.replace_input(dequantize, place, ir.add_initializer(graph, f"{value.name if value else ''}.wider", wider))
    dequantize.outputs[0].shape = None


def _add_to_image(conv: ir.Node) -> None:
    """Channels more to the codes that the first convolution reads."""
    front, weight = quantizer_in_front(conv.inputs[0]), _weight(conv)
    if front is None or weight is None or not _is_dense(conv) or len(weight) < _WRITTEN:
        return
    missing = _READ - weight.shape[1]
    if missing <= 0 or not (weight.shape[1] == _COLOUR or _is_large(conv.inputs[0])):
        return
    _extend(conv, 1, 1, missing)
    b = Inserter(conv, f"{conv.name}.aligned")
    behind = [0] * weight.ndim
    behind[1] = missing
    pads = b.constant([*[0] * weight.ndim, *behind], np.int64)
    codes = b.op("Pad", front.outputs[0], pads, front.inputs[2], mode="constant")
    ir.replace_input(conv, 0, b.op("DequantizeLinear", codes, *front.inputs[1:3]))


def _is_large(image: ir.Value | None) -> bool:
    dims = ir.dims_of(image) if image is not None else None
    sizes = [size for size in (dims or ())[2:] if isinstance(size, int)]
    return dims is not None and len(sizes) == len(dims) - 2 and prod(sizes) >= _LARGE
