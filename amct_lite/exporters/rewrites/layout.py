"""Where ONNX Runtime has the channels of an image behind its pixels: around its integer convolutions."""

from __future__ import annotations

from amct_lite import ir
from amct_lite.exporters.pairs import PAIR, is_dequantized, is_rounded
from amct_lite.ir.build import Inserter
from amct_lite.passes.bound_parts import BOUNDS

CHANNELS_LAST = (0, 2, 3, 1)
"""The order of the axes of an image that puts the channels behind its pixels."""
BLOCK = 4
"""So many codes are moved faster as a block than one by one."""
_BY_VALUE = PAIR | BOUNDS | {"Add", "Mul", "Sigmoid", "HardSigmoid", "HardSwish", "LeakyRelu"}
_KEPT = _BY_VALUE | {"Concat", "MaxPool"}


def channels_last(b: Inserter, image: ir.Value | None, rank: int = len(CHANNELS_LAST)) -> ir.Value:
    return b.op("Transpose", image, perm=[0, *range(2, rank), 1])


def channels_first(b: Inserter, pixels: ir.Value, rank: int = len(CHANNELS_LAST)) -> ir.Value:
    return b.op("Transpose", pixels, perm=[0, rank - 1, *range(1, rank - 1)])


def is_computed_last(image: ir.Value | None) -> bool:
    """Whether an integer convolution writes `image`, or what it is made of: value by value, pooled, or joined."""
    waiting = [image] if image is not None and len(ir.dims_of(image) or ()) == 4 else []
    seen = set(waiting)
    while waiting:
        node = waiting.pop().producer()
        if node is not None and is_integer_conv(node):
            return True
        if node is not None and node.op_type in _KEPT:
            data = [value for value in node.inputs if value is not None and value not in seen]
            waiting += data
            seen.update(data)
    return False


def is_integer_conv(node: ir.Node) -> bool:
    return node.op_type == "Conv" and is_dequantized(node.inputs[0]) and is_rounded(node.outputs[0])
