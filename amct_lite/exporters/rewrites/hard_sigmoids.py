"""A HardSigmoid between pairs, for which ONNX Runtime has no integer kernel.

    clip(alpha·x + beta, 0, 1) = alpha · clip(x + beta/alpha, 0, 1/alpha)

Where the scales were decided so, the codes of the left side are those of x, kept within those of 0 and 1. Elsewhere it is a
sum, of a scale that is 1/alpha times as large, whose codes saturate by themselves where they go from 0 to no more than 1.
"""

from __future__ import annotations

from math import isclose

import numpy as np

from amct_lite import ir
from amct_lite.exporters.pairs import UNSIGNED_SHIFT, dequantizers, grid_of, is_dequantized, replace_codes
from amct_lite.exporters.rewrites.neighbours import rounded_by
from amct_lite.exporters.rewrites.numbers import code_for
from amct_lite.ir.build import Inserter
from amct_lite.numerics.shared_range import gate_of
from amct_lite.passes.take_apart import line_of
from amct_lite.types import QParams

_SAME = 1e-6
"""1/6 is 0.16666667 in float32."""


def compute_codes(gate: ir.Node) -> None:
    """`gate`: a HardSigmoid of a model whose codes are unsigned. The DequantizeLinear behind it keep their scale."""
    quantize = rounded_by(gate)
    alpha, beta = line_of(gate)
    if quantize is None or not is_dequantized(gate.inputs[0]) or alpha <= 0 or beta <= 0:
        return
    if quantize.inputs[0] is not gate.outputs[0]:  # a Relu or Clip between them says when the codes saturate
        return
    name, behind = gate.outputs[0].name, [node.outputs[0] for node in dequantizers(quantize)]
    written = _keep_codes(gate, quantize, alpha, beta) or _add(gate, quantize, alpha, beta)
    if written and behind and not behind[0].is_graph_output():
        behind[0].name = name  # by which it is known again: the same, rounded


def _keep_codes(gate: ir.Node, quantize: ir.Node, alpha: float, beta: float) -> bool:
    """Whether the codes could stay what they are."""
    data = ir.producer_of(gate.inputs[0])
    before, behind = grid_of(data), grid_of(quantize)
    if data is None or data.inputs[0] is None or before is None or behind is None:
        return False
    wanted = gate_of(QParams.of(before[0], before[1] - UNSIGNED_SHIFT), alpha, beta / alpha)
    if (
        wanted is None
        or not isclose(wanted.scale[0], behind[0], rel_tol=_SAME)
        or wanted.zero_point[0] != behind[1] - UNSIGNED_SHIFT
    ):
        return False
    codes, limits = data.inputs[0], (behind[1], min(behind[1] + round(1 / behind[0]), 255))
    if limits != (0, 255):
        b = Inserter(gate, str(gate.name))
        codes = b.op("Clip", codes, *(b.constant(limit, np.uint8) for limit in limits))
    replace_codes(quantize, codes)
    for node in (quantize, gate, *([] if len(ir.uses(data.outputs[0])) > 1 else [data])):
        ir.remove_node(node)
    return True


def _add(gate: ir.Node, quantize: ir.Node, alpha: float, beta: float) -> bool:
    """Whether it could become a sum."""
    scale, lowest = (ir.constant_of(value) for value in quantize.inputs[1:3])
    if scale is None or scale.size != 1 or lowest is None or lowest.dtype != np.uint8 or lowest.any() or scale > 1 / 255:
        return False
    b = Inserter(gate, str(gate.name))
    total = b.op("Add", gate.inputs[0], code_for(b, beta / alpha, gate.outputs[0]))
    ir.replace_input(quantize, 0, total)
    ir.replace_input(quantize, 1, b.constant(scale / alpha, np.float32))
    ir.remove_node(gate)
    return True
