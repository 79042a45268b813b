"""The float model that a fake-quant model computes with: no quantized activations, weights as rounded. Nodes and tensors
keep their names, so that record and calibration fit it."""

from __future__ import annotations

import numpy as np

from amct_lite import ir
from amct_lite.passes import fold_constants
from amct_lite.passes.dequantize_first import dequantize_first
from amct_lite.types import AnyArray


def float_form(fake_quant: ir.Model) -> ir.Model:
    """A new model; `fake_quant` is one that this package wrote, and is not modified."""
    result = ir.clone(fake_quant)
    dequantize_first(result)
    for node in tuple(result.graph):
        if node.op_type != "DequantizeLinear" or node.inputs[0] is None:
            continue
        quantizer = node.inputs[0].producer()
        if quantizer is not None and quantizer.op_type == "QuantizeLinear" and quantizer.inputs[0] is not None:
            ir.redirect(node.outputs[0], _unclipped(quantizer, quantizer.inputs[0]))
        elif (array := _dequantized(node)) is not None:
            ir.redirect(node.outputs[0], ir.add_initializer(result.graph, f"{node.outputs[0].name}.float", array))
    ir.remove_unused(result)
    fold_constants.run(result)  # a weight may still be brought into its layout
    return result


def _unclipped(quantizer: ir.Node, value: ir.Value) -> ir.Value:
    """`value` in front of `quantizer`, or what it was before it was clipped to where 4-bit codes saturate."""
    clip, own = value.producer(), str(quantizer.name).rpartition(".")[0]
    if clip is None or clip.op_type != "Clip" or clip.name != f"{own}.clip" or clip.inputs[0] is None:
        return value
    return clip.inputs[0]


def _dequantized(node: ir.Node) -> AnyArray | None:
    """(codes - zero point) · scale of constants, else None. Source: ONNX operator spec, DequantizeLinear."""
    codes, scale = ir.constant_of(node.inputs[0]), ir.constant_of(node.inputs[1])
    if codes is None or scale is None:
        return None
    zero = ir.constant_of(node.inputs[2]) if len(node.inputs) > 2 else None
    if scale.size > 1:
        shape = [1] * codes.ndim
        shape[ir.attribute(node, "axis", 1)] = -1
        scale, zero = scale.reshape(shape), None if zero is None else zero.reshape(shape)
    shifted = codes.astype(np.float32) - (np.float32(0) if zero is None else zero.astype(np.float32))
    values: AnyArray = (shifted * scale.astype(np.float32)).astype(np.float32)
    return values
