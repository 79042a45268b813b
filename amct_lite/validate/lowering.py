"""Turns a deploy model into one that stock ONNX Runtime executes, operator by operator as the NPU does.

AscendQuant becomes round(x · scale) + offset, clipped, as int8 or int16. A layer and its bias become exact sums of integers,
the zero point taken off the data (`sums` says how), AscendDequant one float32 multiplication. AscendAntiQuant becomes
(x − offset) · scale: ATC negates the offset of the file, and the device adds it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from amct_lite import ir
from amct_lite.errors import VerificationError
from amct_lite.exporters.ascend import dequant_scale
from amct_lite.ir.build import Inserter
from amct_lite.numerics.packing import unpack_int4
from amct_lite.ops import OPS, OpSpec
from amct_lite.types import FloatArray
from amct_lite.validate.code_types import CODE_TYPES, CodeType, code_type, zero_point_of
from amct_lite.validate.sums import accumulate


@dataclass(frozen=True)
class LoweredLayer:
    """What one layer computes in the lowered model, by name: accumulators (bias included), an output, and dequantized result.

    whole: whether the accumulators are integers, of whatever type; an average is none. step: (1,) or (Cout,) float32 shaped to
    broadcast, what one accumulator step is worth.
    """

    name: str
    accumulators: str
    result: str
    whole: bool
    step: FloatArray


@dataclass(frozen=True)
class Lowered:
    """codes: AscendQuant node → name of its int8 or int16 output. restored: AscendAntiQuant node → name of its float output.
    These are outputs of `model`."""

    model: ir.Model
    codes: dict[str, str]
    layers: tuple[LoweredLayer, ...]
    restored: dict[str, str]


def lower(deploy: ir.Model) -> Lowered:
    """An executable form of `deploy`, which is not modified. Raises VerificationError for what cannot be executed."""
    model = ir.clone(deploy)
    graph = model.graph
    restored = {str(node.name): _lower_anti_quant(node) for node in tuple(graph) if node.op_type == "AscendAntiQuant"}
    layers = tuple(_lower_layer(node) for node in tuple(graph) if node.op_type == "AscendDequant")
    codes = {str(node.name): _lower_quant(node) for node in tuple(graph) if node.op_type == "AscendQuant"}
    watched = dict.fromkeys((*codes.values(), *(layer.accumulators for layer in layers), *restored.values()))
    values = {str(value.name): value for node in graph for value in node.outputs}
    graph.outputs.extend(values[name] for name in watched if not values[name].is_graph_output())
    ir.remove_unused(model)
    return Lowered(model, codes, layers, restored)


def _lower_anti_quant(node: ir.Node) -> str:
    """Returns the name of the floats."""
    b = Inserter(node, f"{node.name}.lowered")
    assert node.inputs[0] is not None
    steps = b.op("Sub", b.cast(node.inputs[0], ir.DataType.FLOAT), b.constant(ir.attribute(node, "offset", 0.0), np.float32))
    result = b.op("Mul", steps, b.constant(ir.attribute(node, "scale", 1.0), np.float32))
    ir.redirect(node.outputs[0], result)
    ir.remove_node(node)
    return str(result.name)


def _lower_quant(node: ir.Node) -> str:
    """Returns the name of the codes."""
    kind = code_type(node)
    b = Inserter(node, f"{node.name}.lowered")
    scaled = b.op("Mul", _wide(b, node.inputs[0]), b.constant(ir.attribute(node, "scale", 1.0), np.float32))
    codes = _rounded(b, scaled, kind, zero_point_of(node))
    codes.shape, codes.dtype = node.outputs[0].shape, kind.dtype
    ir.redirect(node.outputs[0], codes)
    ir.remove_node(node)
    return str(codes.name)


def _rounded(b: Inserter, steps: ir.Value, kind: CodeType, offset: int) -> ir.Value:
    """clip(round(steps) + offset): where int8 is the range, QuantizeLinear by a scale of 1."""
    if kind == CODE_TYPES["INT8"]:
        return b.op("QuantizeLinear", steps, b.constant(1.0, np.float32), b.constant(offset, np.int8))
    moved = b.op("Add", b.op("Round", steps), b.constant(offset, np.float32))
    return b.cast(b.op("Clip", moved, b.constant(kind.qmin, np.float32), b.constant(kind.qmax, np.float32)), kind.dtype)


def _wide(b: Inserter, value: ir.Value | None) -> ir.Value | None:
    """float16 data are scaled in float32."""
    return b.cast(value, ir.DataType.FLOAT) if value is not None and value.dtype == ir.DataType.FLOAT16 else value


def _lower_layer(dequant: ir.Node) -> LoweredLayer:
    """Replace layer, bias Add and AscendDequant."""
    node, bias = _layer_behind(dequant)
    spec = OPS.get(node.op_type)
    data, other = _operands(node)
    quant = data.producer()
    assert quant is not None
    b = Inserter(dequant, f"{node.name}.lowered")
    rank = _rank(node)
    shaped = None if bias is None else spec.channel_shape(bias, rank)
    accumulators = accumulate(b, spec, node, quant, _unpacked(b, spec, node, data, other), shaped)
    param = ir.constant_of(dequant.inputs[1])
    assert param is not None
    step = dequant_scale(param)
    step = step if step.size == 1 else np.asarray(spec.channel_shape(step, rank))
    floats = accumulators if accumulators.dtype == ir.DataType.FLOAT else b.cast(accumulators, ir.DataType.FLOAT)
    result = b.op("Mul", floats, b.constant(step))
    if ir.attribute(dequant, "dtype", 0) == 1:
        result = b.cast(result, ir.DataType.FLOAT16)
        result.dtype = ir.DataType.FLOAT16  # for an AscendQuant right behind
    ir.redirect(dequant.outputs[0], result)
    total = dequant.inputs[0]
    add = ir.producer_of(total)
    for dead in dict.fromkeys((dequant, add, node)):
        if dead is not None:
            ir.remove_node(dead)
    return LoweredLayer(str(node.name), str(accumulators.name), str(result.name), other is not None, step)


def _layer_behind(dequant: ir.Node) -> tuple[ir.Node, np.ndarray | None]:
    """The layer node and its int32 bias: its own third input, or the constant of the Add between MatMul and dequant."""
    value = dequant.inputs[0]
    node = ir.producer_of(value)
    if node is None:
        raise VerificationError(f"{dequant.name} reads no layer.")
    if node.op_type == "Add":
        product = ir.producer_of(node.inputs[0])
        if product is None:
            raise VerificationError(f"{node.name} adds a bias to nothing.")
        return product, ir.constant_of(node.inputs[1])
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    return node, ir.constant_of(bias)


def _operands(node: ir.Node) -> tuple[ir.Value, ir.Value | None]:
    """The quantized data and the other factor (int8 weight, or the second quantized tensor)."""
    quantized = [value for value in node.inputs if value is not None and (p := value.producer()) and p.op_type == "AscendQuant"]
    if not quantized:
        raise VerificationError(f"{node.name} ({node.op_type}) reads no AscendQuant.")
    first, *rest = quantized  # twice the same value in the product of a tensor with itself
    weights = [value for value in node.inputs[:2] if value is not None and ir.constant_of(value) is not None]
    others = [*rest, *weights]
    return first, others[0] if others else None


def _unpacked(b: Inserter, spec: OpSpec, node: ir.Node, data: ir.Value, weight: ir.Value | None) -> ir.Value | None:
    """INT4 codes one a byte again: a weight with half as many input channels as the data holds two in each of its bytes."""
    codes, axis = ir.constant_of(weight), spec.input_axis
    dims = ir.dims_of(data)
    if codes is None or axis is None or dims is None or ir.attribute(node, "group", 1) > 1:
        return weight
    channels = dims[-1 if axis == -2 or codes.ndim == 2 else 1]  # of a product, of a convolution
    return b.constant(unpack_int4(codes, axis)) if channels == 2 * codes.shape[axis] else weight


def _rank(node: ir.Node) -> int:
    shape = node.outputs[0].shape
    return 0 if shape is None else shape.rank()
