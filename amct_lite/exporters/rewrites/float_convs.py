"""Convolutions whose results nobody rounds: what leaves a network, or what is left alone in it. ONNX Runtime computes them in
float.

Its fast kernel wants a weight that is a constant, not one that is made of codes at every run, and computes sixteen channels
however few there are. At the end of what makes images these are one to three, at full size: there a kernel that is three taps
wider gives four neighbours of a row as channels, at a stride of four.
"""

from __future__ import annotations

from math import prod

import numpy as np

from amct_lite import ir
from amct_lite.exporters.rewrites.convs import change_constants, has_own_bias, is_dense, known_pads, own_dequantizer, own_weight
from amct_lite.flow.kernels import KERNELS
from amct_lite.ir.build import Inserter
from amct_lite.passes.bound_parts import BOUNDS
from amct_lite.passes.readers import sole_reader
from amct_lite.types import AnyArray

_SINGLE = 256
"""Outputs from which on a kernel of a single tap gains by a constant weight, 0.6 to 0.9 of the time; one of more taps does so
with two, 0.55 to 1."""
_TOGETHER = 4
"""Results. Two take a fifth to a half longer, eight as long or longer (126 forms, 1 and 2 threads)."""
_FEW = 4
_LARGE = 4096
"""Pixels of a result from which on so few channels gain with any kernel, 0.5 to 0.85 of the time."""
_WIDE = 5
"""Taps of a kernel from which on twice as many do, 0.4 to 0.7, of smaller images too."""
_PASSING = BOUNDS | {name for name, kernel in KERNELS.items() if kernel.one_grid}
_STRIP = ".strip"
"""What the names of the nodes behind begin with, after that of the convolution."""


def join_results(conv: ir.Node) -> None:
    """`conv`, whose results nobody rounds; behind the one in its place stands what puts its results into their row."""
    weight = own_weight(conv)
    if weight is None or weight.ndim != 4 or not is_dense(conv) or not has_own_bias(conv) or _may_write_codes(conv):
        return
    pads, strides = known_pads(conv, weight.shape[2:]), ir.attribute(conv, "strides", [1, 1])
    result = ir.sizes_of(conv.outputs[0], 2)
    if pads is None or result is None or strides[1] != 1 or result[1] % _TOGETHER or not _gains(weight.shape, prod(result)):
        return
    outputs, _inputs, rows, taps = weight.shape
    change_constants(conv, _together)
    b = Inserter(conv, f"{conv.name}{_STRIP}")
    attributes = {"kernel_shape": [rows, taps + _TOGETHER - 1], "pads": pads, "strides": [strides[0], _TOGETHER]}
    joined = ir.new_node("Conv", conv.inputs, name=str(conv.name), attributes=attributes)
    ir.insert_before(conv, joined)
    apart = b.op("Reshape", joined.outputs[0], b.constant([0, _TOGETHER, outputs, -1, result[1] // _TOGETHER], np.int64))
    in_row = b.op("Transpose", apart, perm=[0, 2, 3, 4, 1])
    ir.replace_node(conv, b.op("Reshape", in_row, b.constant([0, outputs, -1, result[1]], np.int64)))


def in_their_row(conv: ir.Node) -> ir.Value:
    """The results of `conv` as the network has them."""
    value = conv.outputs[0]
    while (reader := sole_reader(value)) is not None and str(reader.name).startswith(f"{conv.name}{_STRIP}."):
        value = reader.outputs[0]
    return value


def store_floats(conv: ir.Node) -> None:
    """Weight and bias of `conv`, which are its own, as the floats that the integers stand for."""
    weight = own_weight(conv)
    if weight is None or _may_write_codes(conv) or len(weight) < (2 if prod(weight.shape[2:]) > 1 else _SINGLE):
        return
    for index in range(1, len(conv.inputs)):
        dequantize = own_dequantizer(conv, index)
        floats = _floats(dequantize) if dequantize is not None else None
        if floats is not None:
            ir.replace_input(conv, index, Inserter(conv, f"{conv.name}.float").constant(floats))


def _may_write_codes(node: ir.Node) -> bool:
    """Whether its result is rounded, or only moved before it is, which ONNX Runtime turns around. It would quantize a float
    weight then, with one scale for all channels."""
    readers = [use.node for value in node.outputs for use in ir.uses(value)]
    return any(
        reader.op_type == "QuantizeLinear" or (reader.op_type in _PASSING and _may_write_codes(reader)) for reader in readers
    )


def _floats(dequantize: ir.Node) -> AnyArray | None:
    """What a DequantizeLinear of constants along their first axis, of int8 or int32 around zero, gives."""
    codes, scale = (ir.constant_of(value) for value in dequantize.inputs[:2])
    lowest = ir.constant_of(dequantize.inputs[2]) if len(dequantize.inputs) > 2 else None
    if codes is None or scale is None or (lowest is not None and lowest.any()):
        return None
    if scale.size > 1 and ir.attribute(dequantize, "axis", 1) != 0:
        return None
    return codes.astype(np.float32) * scale.reshape(-1, *[1] * (codes.ndim - 1))


def _gains(shape: tuple[int, ...], pixels: int) -> bool:
    """Whether it is faster. shape: of the weight."""
    outputs, _inputs, _rows, taps = shape
    if taps >= _WIDE:
        return outputs <= 2 * _FEW and pixels >= _LARGE // 4
    return taps > 2 and outputs <= _FEW and pixels >= _LARGE


def _together(array: AnyArray) -> AnyArray:
    """Of a weight one for each neighbour, moved by as many taps; of what lies along the channels as many copies."""
    if array.ndim == 1:
        return np.tile(array, _TOGETHER)
    *others, taps = array.shape
    moved = np.zeros((_TOGETHER, *others, taps + _TOGETHER - 1), array.dtype)
    for place in range(_TOGETHER):
        moved[place, ..., place : place + taps] = array
    return moved.reshape(-1, *moved.shape[2:])
