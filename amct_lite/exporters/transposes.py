"""What is seen beside a Transpose whose result is rounded, where ONNX Runtime (1.31) would round it, too.

It rounds in front of the Transpose what was to be rounded behind it, and takes no notice of others that see the tensor there:
it is an output of the model, or the body of an If or Loop reads it. Behind a Max of one tensor, of which it does not know that
it changes nothing, nobody else sees what it rounds.
"""

from __future__ import annotations

from amct_lite import ir
from amct_lite.ir.build import Inserter
from amct_lite.ops import readers_behind
from amct_lite.passes.readers import SIZES


def keep_unrounded(model: ir.Model) -> None:
    """In place. `model`: its pairs are written."""
    for node in tuple(model.graph):
        if node.op_type == "Transpose" and not node.domain and _is_seen_beside(node) and _is_rounded(node):
            ir.replace_input(node, 0, Inserter(node, f"{node.name}.apart").op("Max", node.inputs[0]))


def _is_seen_beside(transpose: ir.Node) -> bool:
    """By others than nodes of the same graph. (If such a node reads its values, too, ONNX Runtime leaves it alone; but of equal
    Transposes it makes one, and who asks for sizes may be gone by then.)"""
    value = transpose.inputs[0]
    assert value is not None
    readers = [use.node for use in ir.uses(value)]
    beside = {reader.op_type for reader in readers if reader.graph is transpose.graph} - SIZES
    elsewhere = value.is_graph_output() or any(reader.graph is not transpose.graph for reader in readers)
    return beside == {"Transpose"} and elsewhere and value.producer() is not None


def _is_rounded(node: ir.Node) -> bool:
    return any(reader.op_type == "QuantizeLinear" for reader in readers_behind(node))
