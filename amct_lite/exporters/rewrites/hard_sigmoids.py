"""A HardSigmoid between pairs is a sum: ONNX Runtime has an integer kernel for that, and none for a HardSigmoid.

    clip(alpha·x + beta, 0, 1) = alpha · clip(x + beta/alpha, 0, 1/alpha)

The codes of the right side are those of the left, of a scale that is 1/alpha times as large. Where they go from 0 to no more
than 1, they saturate by themselves.
"""

from __future__ import annotations

import numpy as np

from amct_lite import ir
from amct_lite.exporters.pairs import is_dequantized
from amct_lite.exporters.rewrites.neighbours import rounded_by
from amct_lite.exporters.rewrites.numbers import code_for
from amct_lite.ir.build import Inserter


def add_codes(gate: ir.Node) -> None:
    """`gate`: a HardSigmoid of a model whose codes are unsigned. The DequantizeLinear behind it keep their scale."""
    quantize = rounded_by(gate)
    alpha, beta = ir.attribute(gate, "alpha", 0.2), ir.attribute(gate, "beta", 0.5)
    if quantize is None or not is_dequantized(gate.inputs[0]) or alpha <= 0 or beta <= 0:
        return
    if quantize.inputs[0] is not gate.outputs[0]:  # a Relu or Clip between them says when the codes saturate
        return
    scale, lowest = (ir.constant_of(value) for value in quantize.inputs[1:3])
    if scale is None or scale.size != 1 or lowest is None or lowest.dtype != np.uint8 or lowest.any() or scale > 1 / 255:
        return
    b = Inserter(gate, str(gate.name))
    total = b.op("Add", gate.inputs[0], code_for(b, beta / alpha, gate.outputs[0]))
    ir.replace_input(quantize, 0, total)
    ir.replace_input(quantize, 1, b.constant(scale / alpha, np.float32))
    ir.remove_node(gate)
