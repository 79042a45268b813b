"""A Relu or Clip between a kernel and its rounding, whose range goes beyond: ONNX Runtime would leave the kernel in float.

So it is where tensors of which not all are bounded share a grid, as in front of a Concat. Rounding keeps order, so the codes
are kept within the codes of the bounds instead: no value changes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from amct_lite import ir
from amct_lite.exporters.pairs import grid_of, is_dequantized, is_wide
from amct_lite.exporters.rewrites.neighbours import rounded_by
from amct_lite.flow.placement import bounds_of
from amct_lite.ir.build import Inserter
from amct_lite.passes.bound_parts import BOUNDS

_PRODUCTS = frozenset({"MatMul", "Gemm"})


def bound_codes(node: ir.Node) -> None:
    """`node`: one of BOUNDS, in a model all of whose pairs are written. Codes of 16 bits ONNX Runtime (1.31) cannot clip."""
    kernel = ir.producer_of(node.inputs[0])
    if kernel is None or kernel.op_type in BOUNDS or not kernel.inputs or not is_dequantized(kernel.inputs[0]):
        return
    quantize = rounded_by(kernel)
    grid = grid_of(quantize)
    if quantize is None or is_wide(quantize) or grid is None or quantize.inputs[0] is not node.outputs[0]:
        return
    zero_point = ir.constant_of(quantize.inputs[2])
    if zero_point is None or any(value is not None and ir.constant_of(value) is None for value in node.inputs[1:]):
        return
    low, high = (_code(bound, *grid, zero_point.dtype) for bound in bounds_of(node.outputs[0]))
    limits = np.iinfo(zero_point.dtype)
    if (low, high) == (limits.min, limits.max):
        return  # ONNX Runtime sees by itself that nothing is left to do
    readers = ir.uses(quantize.outputs[0])
    ir.replace_input(quantize, 0, node.inputs[0])
    b = Inserter.behind(quantize, f"{node.name}.codes")
    codes = b.op("Clip", quantize.outputs[0], *(b.constant(code, zero_point.dtype) for code in (low, high)))
    ir.redirect(quantize.outputs[0], codes, readers)


def spell_bounds(clip: ir.Node) -> None:
    """`clip`: of floats. Right behind a product of codes it keeps ONNX Runtime (1.31) from computing that on integers, which
    takes three times as long; a Max and a Min do not. QDQ models that are taken over have many: what their Q limited."""
    product = ir.producer_of(clip.inputs[0])
    if product is None or product.op_type not in _PRODUCTS or not is_dequantized(product.inputs[0]):
        return
    bounds = [ir.constant_of(value) for value in clip.inputs[1:] if value is not None]
    if rounded_by(clip) is not None or any(bound is None or bound.dtype != np.float32 for bound in bounds):
        return
    b, result = Inserter(clip, str(clip.name)), product.outputs[0]
    for op_type, limit in zip(("Max", "Min"), clip.inputs[1:], strict=False):
        result = result if limit is None else b.op(op_type, result, limit)
    ir.redirect(clip.outputs[0], result)


def _code(bound: float, scale: float, zero_point: int, dtype: np.dtype[Any]) -> int:
    """What QuantizeLinear makes of it, in float32 as it does."""
    steps = np.rint(np.float32(bound) / np.float32(scale)) + zero_point
    return int(np.clip(steps, np.iinfo(dtype).min, np.iinfo(dtype).max))
