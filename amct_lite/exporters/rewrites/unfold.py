"""A ConvTranspose becomes the Conv of all its phases and a DepthToSpace: ONNX Runtime has no integer kernel for it."""

from __future__ import annotations

import numpy as np

from amct_lite import ir
from amct_lite.exporters.rewrites.convs import change_outputs, has_own_bias, own_dequantizer, own_weight
from amct_lite.exporters.rewrites.neighbours import rounded_by
from amct_lite.ir.build import Inserter
from amct_lite.ops.phases import phases_of


def unfold(transposed: ir.Node) -> None:
    """Where its result is rounded, and its weight its own; `transposed` is a node of the fake-quant model."""
    weight, scaled, quantize = own_weight(transposed), own_dequantizer(transposed, 1), rounded_by(transposed)
    if weight is None or scaled is None or quantize is None or not has_own_bias(transposed):
        return
    phases = phases_of(transposed, weight.shape[2:])
    if isinstance(phases, str):
        return
    pixels = phases.block**2
    change_outputs(transposed, lambda array: phases.weight(array) if array.ndim > 1 else np.tile(array, pixels))
    ir.set_attribute(scaled, "axis", 0)
    name = str(transposed.name)
    conv = ir.new_node("Conv", transposed.inputs, name=name, attributes={"pads": list(phases.pads)})
    ir.insert_before(transposed, conv)
    ir.redirect(transposed.outputs[0], conv.outputs[0])
    ir.remove_node(transposed)
    _spread(quantize, phases.block, name)


def _spread(quantize: ir.Node, block: int, name: str) -> None:
    """Behind `quantize`, whose codes hold the pixels of a block as channels, stands a pair with these in their places."""
    readers = ir.uses(quantize.outputs[0])
    grid = quantize.inputs[1:3]
    b = Inserter.behind(quantize, f"{name}.spread")
    pixels = b.op("DepthToSpace", b.op("DequantizeLinear", quantize.outputs[0], *grid), blocksize=block, mode="DCR")
    codes = b.op("QuantizeLinear", pixels, *grid)
    ir.redirect(quantize.outputs[0], codes, readers)
