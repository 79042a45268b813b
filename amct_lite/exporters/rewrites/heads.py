"""The end of a classifier: a mean over all pixels, and layers of the one pixel that is left."""

from __future__ import annotations

import numpy as np

from amct_lite import ir
from amct_lite.exporters.pairs import is_rounded, quantizer_behind, quantizer_in_front, read_grid
from amct_lite.flow.kernels import KERNELS, is_product
from amct_lite.ir.build import Inserter


def pool_pixels(mean: ir.Node) -> None:
    """A mean over height and width, between pairs, is the GlobalAveragePool that has an integer kernel."""
    quantize = quantizer_behind(mean)
    if quantizer_in_front(mean.inputs[0]) is None or quantize is None or not KERNELS["ReduceMean"].taken(mean):
        return
    b = Inserter(mean, str(mean.name))
    pooled = b.op("GlobalAveragePool", mean.inputs[0])
    if ir.attribute(mean, "keepdims", 1):
        ir.replace_node(mean, pooled)
        return
    codes = b.op("QuantizeLinear", pooled, *quantize.inputs[1:3])
    flat = b.op("Flatten", b.op("DequantizeLinear", codes, *quantize.inputs[1:3]))
    ir.redirect(mean.outputs[0], flat)


def multiply_pixel(conv: ir.Node) -> None:
    """A Conv of a single pixel, nobody behind which wants integers, is the Gemm whose integer kernel writes float: what a
    classifier says is not rounded."""
    front = quantizer_in_front(conv.inputs[0])
    scaled = ir.producer_of(conv.inputs[1])
    weight = ir.constant_of(scaled.inputs[0]) if scaled is not None else None
    if front is None or scaled is None or weight is None or not is_product(conv) or is_rounded(conv.outputs[0]):
        return
    b = Inserter(conv, f"{conv.name}.product")
    flat = b.op("DequantizeLinear", b.op("Flatten", front.outputs[0]), *read_grid(conv.inputs[0]))
    codes = b.constant(weight.reshape(len(weight), -1))
    matrix = b.op("DequantizeLinear", codes, *scaled.inputs[1:], axis=0)  # other layers may read the one with all dimensions
    product = ir.new_node("Gemm", [flat, matrix, *conv.inputs[2:]], name=str(conv.name), attributes={"transB": 1})
    ir.insert_before(conv, product)
    pixels = b.constant(list(range(2, weight.ndim)), np.int64)
    ir.redirect(conv.outputs[0], b.op("Unsqueeze", product.outputs[0], pixels))
    ir.remove_node(conv)
