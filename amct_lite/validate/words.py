"""What AscendQuant can write, and how data of 16 bits are computed exactly with kernels for 8.

A code is 256·high + low with a signed high byte and a low byte in [0, 255], and so is the zero point. What a layer computes
is linear in (code - zero point), so both halves go through the layer's own integer form, the low one moved down by 128 with
its zero point, and join again in int64: 256·form(high) + form(low). The NPU is taken to sum in int32; whether the sum fits
is for the comparison to say, int64 shows it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from amct_lite import ir
from amct_lite.errors import VerificationError
from amct_lite.ir.build import Inserter
from amct_lite.ops import OpSpec


@dataclass(frozen=True)
class CodeType:
    """One `dst_type`: the range of its codes and the tensor type that holds them."""

    qmin: int
    qmax: int
    dtype: ir.DataType


CODE_TYPES = {
    "INT4": CodeType(-8, 7, ir.DataType.INT8),
    "INT8": CodeType(-128, 127, ir.DataType.INT8),
    "INT16": CodeType(-32768, 32767, ir.DataType.INT16),
}


def code_type(quant: ir.Node) -> CodeType:
    """Of an AscendQuant. Raises VerificationError for a `dst_type` that does not exist."""
    name = ir.attribute(quant, "dst_type", "INT8")
    if name not in CODE_TYPES:
        raise VerificationError(f"{quant.name} has dst_type {name!r}; there are {', '.join(CODE_TYPES)}.")
    return CODE_TYPES[name]


def zero_point_of(quant: ir.Node) -> int:
    """The offset of an AscendQuant. Raises VerificationError when it is no code of its type."""
    offset, kind = ir.attribute(quant, "offset", 0.0), code_type(quant)
    if not (offset == int(offset) and kind.qmin <= offset <= kind.qmax):
        name = ir.attribute(quant, "dst_type", "INT8")
        raise VerificationError(f"{quant.name} has offset {offset}, which is no {name} code: write {kind.qmin} to {kind.qmax}.")
    return int(offset)


def accumulate(b: Inserter, spec: OpSpec, node: ir.Node, quant: ir.Node, other: ir.Value | None) -> ir.Value:
    """The accumulators of layer `node` on the codes of `quant`, without bias: int32, or int64 for 16-bit data, or float32
    for a layer without weight. other: the int8 weight or the second factor's codes."""
    codes, zero_point = quant.outputs[0], zero_point_of(quant)
    if code_type(quant).dtype == ir.DataType.INT8:
        return spec.integer_form(b, node, codes, zero_point, other)
    if other is not None and ir.constant_of(other) is None:
        raise VerificationError(f"{node.name} multiplies two variable tensors, of which {quant.name} makes INT16: use INT8.")
    values = b.cast(codes, ir.DataType.FLOAT)
    byte = b.constant(256.0, np.float32)
    high = b.op("Floor", b.op("Div", values, byte))
    low = b.op("Sub", b.op("Sub", values, b.op("Mul", high, byte)), b.constant(128.0, np.float32))
    halves = [
        spec.integer_form(b, node, b.cast(half, ir.DataType.INT8), zero, other)
        for half, zero in ((high, zero_point >> 8), (low, (zero_point & 255) - 128))
    ]
    if other is None:
        return b.op("Add", b.op("Mul", halves[0], byte), halves[1])
    first, second = (b.cast(half, ir.DataType.INT64) for half in halves)
    return b.op("Add", b.op("Mul", first, b.constant(256, np.int64)), second)
