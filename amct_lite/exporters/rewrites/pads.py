"""A Pad between pairs, left to the convolutions behind it, or of codes; and the pads that a mean counts."""

from __future__ import annotations

import numpy as np

from amct_lite import ir
from amct_lite.exporters.pairs import dequantizers, is_wide, pair_around, replace_codes
from amct_lite.flow.kernels import KERNELS


def pad_codes(pad: ir.Node) -> None:
    """A Pad with zeros between equal pairs is left to the convolutions behind it; where there are others, it pads the codes
    with their zero point. ONNX Runtime would do it in float; codes of 16 bits it cannot pad (1.31)."""
    pair = pair_around(pad) if KERNELS["Pad"].taken(pad) else None
    if pair is None or _padded_by_convs(pad, pair[1]) or is_wide(pair[0]):
        return
    front, behind = pair
    inputs = [front.outputs[0], pad.inputs[1], front.inputs[2], *pad.inputs[3:]]
    padded = ir.new_node("Pad", inputs, name=f"{pad.name}.codes", attributes={"mode": "constant"})
    ir.insert_before(pad, padded)
    replace_codes(behind, padded.outputs[0])


def _padded_by_convs(pad: ir.Node, behind: ir.Node) -> bool:
    """Let those who read the padded tensor pad it, if all are convolutions and only pixels are added; whether it was done."""
    widths, results = ir.constant_of(pad.inputs[1]), [node.outputs[0] for node in dequantizers(behind)]
    readers = [use for value in results for use in ir.uses(value)]
    if widths is None or len(pad.inputs) > 3 or not readers or any(value.is_graph_output() for value in results):
        return False
    low, high = np.split(widths, 2)
    explicit = all(ir.attribute(use.node, "auto_pad", "NOTSET") == "NOTSET" for use in readers)
    if low[:2].any() or high[:2].any() or (widths < 0).any() or not explicit:
        return False
    if not all(use.node.op_type == "Conv" and use.idx == 0 for use in readers):
        return False
    for use in readers:
        own = ir.attribute(use.node, "pads", [0] * (len(widths) - 4))
        ir.set_attribute(use.node, "pads", [int(a + b) for a, b in zip(own, (*low[2:], *high[2:]), strict=True)])
    assert pad.inputs[0] is not None
    for value in results:
        ir.redirect(value, pad.inputs[0])
    return True
