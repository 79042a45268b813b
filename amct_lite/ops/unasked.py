"""Who must not read a dequantized tensor: a layer with float weights, which ONNX Runtime would quantize unasked, and, behind
others, the body of an If or Loop.

Its optimizer WeightBiasQuantization quantizes weights from the basic level on, one scale each, where a QuantizeLinear follows.
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
    """Nodes with a constant weight that a tensor read by `node` reaches unchanged: itself, or behind transparent ones."""
    for reader in readers_behind(node):
        weights = (ir.constant_of(value) for value in reader.inputs) if reader.op_type in WEIGHTED else ()
        if any(array is not None and array.ndim > 1 for array in weights):
            yield str(reader.name)


def bodies_behind(node: ir.Node) -> Iterator[str]:
    """Nodes in the body of an If or Loop that such a tensor reaches behind transparent ones: ONNX Runtime (1.31) dies of moving
    a DequantizeLinear there."""
    return (str(reader.name) for reader in readers_behind(node) if reader.graph is not node.graph)


def readers_behind(node: ir.Node) -> Iterator[ir.Node]:
    """`node`, and behind it, if it is transparent, those that read what it gives."""
    if node.domain not in {"", "ai.onnx"}:
        return
    yield node
    if node.op_type in _TRANSPARENT:
        for usage in ir.uses(node.outputs[0]):
            yield from readers_behind(usage.node)
