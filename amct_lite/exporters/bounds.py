"""A Relu or Clip between a kernel and its rounding, whose range goes beyond: ONNX Runtime would leave the kernel in float.

So it is where tensors of which not all are bounded share a grid, as in front of a Concat. Rounding keeps order, so the codes
are kept within the codes of the bounds instead: no value changes.
"""

from __future__ import annotations

import numpy as np

from amct_lite import ir
from amct_lite.exporters.pairs import grid_of, quantizer_in_front
from amct_lite.flow.kernels import BOUNDS
from amct_lite.flow.placement import bounds_of
from amct_lite.ir.build import Inserter

_LOWEST, _HIGHEST = 0, 255


def bound_codes(node: ir.Node) -> None:
    """`node`: one of BOUNDS, in a model whose activations are uint8."""
    source, readers = node.inputs[0], ir.uses(node.outputs[0])
    kernel = source.producer() if source is not None else None
    if source is None or kernel is None or kernel.op_type in BOUNDS or not kernel.inputs or len(readers) != 1:
        return
    quantize = readers[0].node
    grid = grid_of(quantize) if quantize.op_type == "QuantizeLinear" else None
    if grid is None or quantizer_in_front(kernel.inputs[0]) is None or len(ir.uses(source)) != 1:
        return
    if (
        source.is_graph_output()
        or node.outputs[0].is_graph_output()
        or any(ir.constant_of(v) is None for v in node.inputs[1:] if v)
    ):
        return
    low, high = (_code(bound, *grid) for bound in bounds_of(node.outputs[0]))
    if (low, high) == (_LOWEST, _HIGHEST):  # ONNX Runtime sees by itself that nothing is left to do
        return
    behind = ir.uses(quantize.outputs[0])
    ir.replace_input(quantize, 0, source)
    b = Inserter.behind(quantize, f"{node.name}.codes")
    codes = b.op("Clip", quantize.outputs[0], b.constant(low, np.uint8), b.constant(high, np.uint8))
    for use in behind:
        ir.replace_input(use.node, use.idx, codes)


def _code(bound: float, scale: float, zero_point: int) -> int:
    """What QuantizeLinear makes of it, in float32 as it does."""
    steps = np.rint(np.float32(bound) / np.float32(scale)) + zero_point
    return int(np.clip(steps, _LOWEST, _HIGHEST))
