"""A ConvTranspose becomes the Conv of all its phases and a DepthToSpace: ONNX Runtime has no integer kernel for it."""

from __future__ import annotations

import numpy as np

from amct_lite import ir
from amct_lite.exporters.convs import has_own_bias, own_dequantizer, own_weight, private, rounded_by
from amct_lite.ir.build import Inserter
from amct_lite.ops.phases import phases_of


def unfold(transposed: ir.Node) -> None:
    """Where its result is rounded, and its weight its own; `transposed` is a node of the fake-quant model."""
    weight, quantize = own_weight(transposed), rounded_by(transposed)
    phases = phases_of(transposed, weight.shape[2:]) if weight is not None else ""
    if weight is None or quantize is None or isinstance(phases, str) or not has_own_bias(transposed):
        return
    scaled = own_dequantizer(transposed, 1)
    assert scaled is not None, "it has a weight of its own"
    b = Inserter(scaled, f"{transposed.name}.phases")
    pixels = phases.block**2
    for index in range(1, len(transposed.inputs)):
        dequantize = own_dequantizer(transposed, index)
        assert dequantize is not None, "asked above"
        for place, value in enumerate(dequantize.inputs):
            array = ir.constant_of(value)
            if array is not None and array.ndim == 1:
                ir.replace_input(dequantize, place, b.constant(np.tile(array, pixels)))
        dequantize.outputs[0].shape = None
    ir.replace_input(scaled, 0, b.constant(phases.weight(weight)))
    ir.set_attribute(scaled, "axis", 0)
    for value in private(transposed.outputs[0]):
        value.shape = None
    b = Inserter(transposed, str(transposed.name))
    conv = ir.new_node("Conv", transposed.inputs, name=str(transposed.name), attributes={"pads": list(phases.pads)})
    ir.insert_before(transposed, conv)
    ir.redirect(transposed.outputs[0], conv.outputs[0])
    ir.remove_node(transposed)
    _spread(quantize, phases.block, str(conv.name))


def _spread(quantize: ir.Node, block: int, name: str) -> None:
    """Behind `quantize`, whose codes hold the pixels of a block as channels, stands a pair with these in their places."""
    readers = ir.uses(quantize.outputs[0])
    grid = quantize.inputs[1:3]
    b = Inserter.behind(quantize, f"{name}.spread")
    pixels = b.op("DepthToSpace", b.op("DequantizeLinear", quantize.outputs[0], *grid), blocksize=block, mode="DCR")
    codes = b.op("QuantizeLinear", pixels, *grid)
    for use in readers:
        ir.replace_input(use.node, use.idx, codes)
