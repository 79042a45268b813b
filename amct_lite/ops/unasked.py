"""Float weights that ONNX Runtime would quantize unasked: those of a layer that reads a dequantized tensor.

Its optimizer WeightBiasQuantization does so from the basic level on, one scale a weight, where a QuantizeLinear follows.
"""

from __future__ import annotations

from collections.abc import Iterator

from amct_lite import ir
from amct_lite.ops.base import WEIGHTED

_TRANSPARENT = frozenset(
    {"MaxPool", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Slice", "Gather", "Expand", "Identity", "Dropout"}
)
"""Operators that ONNX Runtime moves a DequantizeLinear across, so that what reads their output reads a dequantized tensor."""


def weights_behind(node: ir.Node) -> Iterator[str]:
    """Nodes with a constant weight that a tensor read by `node` reaches unchanged: itself, or behind transparent ones. And any
    in the body of an If or Loop that it reaches behind these: ONNX Runtime (1.31) dies of moving a DequantizeLinear there."""
    if node.domain not in {"", "ai.onnx"}:
        return
    if node.op_type in WEIGHTED:
        weights = (ir.constant_of(value) for value in node.inputs)
        if any(array is not None and array.ndim > 1 for array in weights):
            yield str(node.name)
    elif node.op_type in _TRANSPARENT:
        for usage in ir.uses(node.outputs[0]):
            if usage.node.graph is not node.graph:
                yield str(usage.node.name)
            yield from weights_behind(usage.node)
