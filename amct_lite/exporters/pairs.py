"""The pairs of QuantizeLinear and DequantizeLinear in a finished model: finding them, and other codes between the two."""

from __future__ import annotations

from amct_lite import ir
from amct_lite.passes.bound_parts import BOUNDS

PAIR = frozenset({"QuantizeLinear", "DequantizeLinear"})
UNSIGNED_SHIFT = 128
"""How much higher a code of 8 bits is in the unsigned grid of the same numbers."""


def quantizer_in_front(value: ir.Value | None) -> ir.Node | None:
    """The QuantizeLinear of the pair whose result `value` is."""
    dequantize = ir.producer_of(value)
    codes = dequantize.inputs[0] if dequantize is not None and dequantize.op_type == "DequantizeLinear" else None
    quantize = ir.producer_of(codes)
    return quantize if quantize is not None and quantize.op_type == "QuantizeLinear" else None


def quantizer_behind(node: ir.Node) -> ir.Node | None:
    """The QuantizeLinear that alone sees what `node` gives."""
    readers = ir.uses(node.outputs[0])
    alone = len(readers) == 1 and readers[0].node.op_type == "QuantizeLinear" and not node.outputs[0].is_graph_output()
    return readers[0].node if alone else None


def is_dequantized(value: ir.Value | None) -> bool:
    """Whether `value` is made of codes, those of a pair or what became of them."""
    node = ir.producer_of(value)
    return node is not None and node.op_type == "DequantizeLinear"


def read_grid(value: ir.Value | None) -> tuple[ir.Value | None, ...]:
    """Scale and zero point that `value` is made of codes with. The QuantizeLinear of its pair may have another scale, where it
    computes what is rounded (`hard_sigmoids.py`)."""
    dequantize = ir.producer_of(value)
    assert dequantize is not None
    assert dequantize.op_type == "DequantizeLinear"
    return tuple(dequantize.inputs[1:3])


def grid_of(quantize: ir.Node | None) -> tuple[float, int] | None:
    """Scale and zero point of a QuantizeLinear; None when they are no constants of one value."""
    scale, zero_point = (ir.constant_of(value) for value in quantize.inputs[1:3]) if quantize is not None else (None, None)
    if scale is None or zero_point is None or scale.size != 1:
        return None
    return float(scale), int(zero_point)


def is_wide(quantize: ir.Node | None) -> bool:
    """Whether a QuantizeLinear gives codes of 16 bits."""
    zero_point = ir.constant_of(quantize.inputs[2]) if quantize is not None and len(quantize.inputs) > 2 else None
    return zero_point is not None and zero_point.itemsize > 1


def pair_around(node: ir.Node) -> tuple[ir.Node, ir.Node] | None:
    """The QuantizeLinears in front of `node` and behind it, where they have one grid and nobody else sees what it gives."""
    front, behind = quantizer_in_front(node.inputs[0]), quantizer_behind(node)
    grid = grid_of(front)
    if front is None or behind is None or grid is None or grid != grid_of(behind):
        return None
    return front, behind


def quantizers(node: ir.Node) -> tuple[ir.Node, ...]:
    """Those that round what it gives now."""
    uses = (use.node for value in node.outputs for use in ir.uses(value))
    return tuple(reader for reader in uses if reader.op_type == "QuantizeLinear")


def dequantizers(quantize: ir.Node) -> tuple[ir.Node, ...]:
    """Those that read its codes now."""
    return tuple(use.node for use in ir.uses(quantize.outputs[0]) if use.node.op_type == "DequantizeLinear")


def replace_codes(quantize: ir.Node, codes: ir.Value) -> None:
    """Let who dequantizes the codes of `quantize` dequantize these instead."""
    for dequantize in dequantizers(quantize):
        ir.replace_input(dequantize, 0, codes)


def is_rounded(value: ir.Value) -> bool:
    """Whether integers are wanted of `value`, or of what a Relu or Clip makes of it."""
    readers = [use.node for use in ir.uses(value)]
    if len(readers) == 1 and readers[0].op_type in BOUNDS:
        return is_rounded(readers[0].outputs[0])
    return any(reader.op_type == "QuantizeLinear" for reader in readers)
