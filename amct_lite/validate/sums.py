"""The accumulators of a layer, computed exactly with operators of stock ONNX Runtime.

On 8-bit codes a layer is its integer form, or, where no sum can leave the integers that float32 holds, the layer itself on
codes less their zero point: float convolutions are two to five times as fast as ConvInteger.

A code of 16 bits is 256·high + low with a signed high byte and a low byte in [0, 255], and so is the zero point. What a layer
computes is linear in (code - zero point), so both halves go through it as codes of 8 bits, the low one moved down by 128 with
its zero point, and join again in int64: 256·layer(high) + layer(low). The NPU is taken to sum in int32; whether the sum fits
is for the comparison to say, int64 shows it.
"""

from __future__ import annotations

import numpy as np

from amct_lite import ir
from amct_lite.errors import VerificationError
from amct_lite.ir.build import Inserter
from amct_lite.numerics.exactness import sums_exactly_in_float32
from amct_lite.ops import OpSpec
from amct_lite.types import AnyArray
from amct_lite.validate.code_types import code_type, zero_point_of


def accumulate(
    b: Inserter, spec: OpSpec, node: ir.Node, quant: ir.Node, other: ir.Value | None, bias: AnyArray | None
) -> ir.Value:
    """The accumulators of layer `node` on the codes of `quant`: integers in float32 or int32, in int64 for 16-bit data; for a
    layer without weight float32. other: the int8 weight or the second factor's codes. bias: int32, shaped to be added."""
    codes, zero_point = quant.outputs[0], zero_point_of(quant)
    if code_type(quant).dtype == ir.DataType.INT8:
        return _of_bytes(b, spec, node, codes, zero_point, other, bias)
    if other is not None and ir.constant_of(other) is None:
        raise VerificationError(f"{node.name} multiplies two variable tensors, of which {quant.name} makes INT16: use INT8.")
    values = b.cast(codes, ir.DataType.FLOAT)
    byte = b.constant(256.0, np.float32)
    high = b.op("Floor", b.op("Div", values, byte))
    low = b.op("Sub", b.op("Sub", values, b.op("Mul", high, byte)), b.constant(128.0, np.float32))
    halves = [
        _of_bytes(b, spec, node, b.cast(half, ir.DataType.INT8), zero, other, None)
        for half, zero in ((high, zero_point >> 8), (low, (zero_point & 255) - 128))
    ]
    if other is None:
        return b.op("Add", b.op("Mul", halves[0], byte), halves[1])
    first, second = (b.cast(half, ir.DataType.INT64) for half in halves)
    return _with_bias(b, b.op("Add", b.op("Mul", first, b.constant(256, np.int64)), second), bias, np.int64)


def _of_bytes(
    b: Inserter,
    spec: OpSpec,
    node: ir.Node,
    codes: ir.Value,
    zero_point: int,
    other: ir.Value | None,
    bias: AnyArray | None,
) -> ir.Value:
    weight = ir.constant_of(other)
    if other is None or weight is None or not _exact_in_float(spec, weight, zero_point, bias):
        return _with_bias(b, spec.integer_form(b, node, codes, zero_point, other), bias, np.int32)
    centred = b.op("Sub", b.cast(codes, ir.DataType.FLOAT), b.constant(zero_point, np.float32))
    inputs = [centred, b.cast(other, ir.DataType.FLOAT), *([] if bias is None else [b.constant(bias.reshape(-1), np.float32)])]
    total = b.op(node.op_type, *inputs, **{name: ir.attribute(node, name, None) for name in node.attributes})
    total.dtype = ir.DataType.FLOAT
    return total


def _exact_in_float(spec: OpSpec, weight: AnyArray, zero_point: int, bias: AnyArray | None) -> bool:
    """Whether the float layer gives the integers themselves. weight: int8; one of several groups may count for all of them."""
    if spec.output_axis is None:
        return False
    rows = np.moveaxis(weight, spec.output_axis, 0).reshape(weight.shape[spec.output_axis], -1)
    start = 0 if bias is None else int(np.abs(bias.astype(np.int64)).max(initial=0))
    return sums_exactly_in_float32(rows, -128 - zero_point, 127 - zero_point, start)


def _with_bias(b: Inserter, total: ir.Value, bias: AnyArray | None, dtype: type[np.signedinteger]) -> ir.Value:
    return total if bias is None else b.op("Add", total, b.constant(bias, dtype))
