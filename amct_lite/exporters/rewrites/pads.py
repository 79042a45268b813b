"""A Pad between pairs, left to the convolutions behind it, or of codes; and the pads that a mean counts."""

from __future__ import annotations

import numpy as np

from amct_lite import ir
from amct_lite.exporters.pairs import dequantizers, pair_around, quantizer_in_front, replace_codes
from amct_lite.exporters.pools import counts_too_much
from amct_lite.flow.kernels import KERNELS
from amct_lite.ir.build import Inserter
from amct_lite.ir.windows import kernel_of, pads_of, strides_of


def pad_codes(pad: ir.Node) -> None:
    """A Pad with zeros between equal pairs is left to the convolutions behind it; where there are others, it pads the codes
    with their zero point. ONNX Runtime would do it in float."""
    pair = pair_around(pad) if KERNELS["Pad"].taken(pad) else None
    if pair is None or _padded_by_convs(pad, pair[1]):
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


def pad_counted(pool: ir.Node) -> None:
    """Zeros among the codes stand for the pads that `pool`, an AveragePool, counts, if its kernel counts more than that."""
    front, pads = quantizer_in_front(pool.inputs[0]), pads_of(pool)
    rank = len(pads) // 2
    if front is None or not counts_too_much(pool) or _starts_in_pads(pool, pads[rank:]):
        return
    b = Inserter(pool, f"{pool.name}.pads")
    widths = b.constant([0, 0, *pads[:rank], 0, 0, *pads[rank:]], np.int64)
    codes = b.op("Pad", front.outputs[0], widths, front.inputs[2])
    ir.replace_input(pool, 0, b.op("DequantizeLinear", codes, *front.inputs[1:3]))
    ir.set_attribute(pool, "pads", [0] * len(pads))
    ir.set_attribute(pool, "count_include_pad", 0)


def _starts_in_pads(pool: ir.Node, behind: list[int]) -> bool:
    """Whether a window might start in the pads `behind` the image. It does not exist, but would if they were part of it."""
    sides = zip(behind, strides_of(pool), kernel_of(pool), strict=True)
    return any(pad > 0 and pad + stride > size for pad, stride, size in sides)
