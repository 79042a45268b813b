"""How codes, weights and biases are stored where ONNX Runtime's integer kernels look for them."""

from __future__ import annotations

import numpy as np

from amct_lite import ir
from amct_lite.exporters.pairs import UNSIGNED_SHIFT, dequantizers
from amct_lite.ir.build import Inserter
from amct_lite.numerics.pair_sums import with_one_extreme
from amct_lite.overflow import signed_weight, summed_axes
from amct_lite.passes.readers import SIZES


def make_unsigned(quantize: ir.Node) -> None:
    zero_point = ir.constant_of(quantize.inputs[2]) if len(quantize.inputs) > 2 else None
    if zero_point is None or zero_point.dtype != np.int8 or quantize.outputs[0].is_graph_output():
        return
    moved = Inserter(quantize, str(quantize.name)).constant((zero_point.astype(np.int16) + UNSIGNED_SHIFT).astype(np.uint8))
    for node in (quantize, *dequantizers(quantize)):
        ir.replace_input(node, 2, moved)
    quantize.outputs[0].type = ir.TensorType(ir.DataType.UINT8)


def measure_codes(model: ir.Model) -> None:
    """Who asks for the shape of a tensor asks its codes: beside a reader of floats, the kernel in front would stay float."""
    asking = [
        (use.node, quantize)
        for quantize in model.graph
        if quantize.op_type == "QuantizeLinear" and quantize.inputs[0] is not None
        for use in ir.uses(quantize.inputs[0])
        if use.node.op_type in SIZES and use.node.graph is quantize.graph
    ]
    for node, quantize in asking:
        ir.replace_input(node, 0, quantize.outputs[0])
    if asking:
        model.graph.sort()  # a shape may have been asked for before there were codes


def keep_float_bias(dequantize: ir.Node) -> None:
    """The Add behind a MatMul has no integer kernel: its bias is stored as the floats that the integers stand for."""
    steps, scale = (ir.constant_of(value) for value in dequantize.inputs[:2])
    output = dequantize.outputs[0]
    readers = {use.node.op_type for use in ir.uses(output)}
    if steps is None or scale is None or steps.dtype != np.int32 or readers != {"Add"}:
        return
    ir.redirect(output, ir.add_initializer(ir.graph_of(dequantize), f"{output.name}.float", (steps * scale).astype(np.float32)))


def spell_zero_point(dequantize: ir.Node) -> None:
    """An absent zero point of a weight means 0, but the fusion into an integer Gemm looks for one."""
    codes, scale = (ir.constant_of(value) for value in dequantize.inputs[:2])
    if codes is None or scale is None or (len(dequantize.inputs) > 2 and dequantize.inputs[2] is not None):
        return
    b = Inserter(dequantize, str(dequantize.name))
    ir.replace_input(dequantize, 2, b.constant(np.zeros(scale.shape, codes.dtype)))


def keep_one_extreme(dequantize: ir.Node) -> None:
    """Of a weight that integer kernels read, `with_one_extreme` along the outputs of each of them. Scales decided for this
    target leave no -128 but among weights that they clip; those of other records do."""
    codes = signed_weight(dequantize)
    if codes is None:
        return
    kept = codes
    for axis in summed_axes(dequantize, codes.ndim):
        kept = with_one_extreme(kept, axis)
    if kept is not codes:
        ir.replace_input(dequantize, 0, ir.add_initializer(ir.graph_of(dequantize), f"{dequantize.name}.codes", kept))
