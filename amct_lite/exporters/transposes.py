"""What is seen beside a Transpose whose result is rounded, where ONNX Runtime (1.31) would round it, too.

It rounds in front of a Transpose what is to be rounded behind it, and takes no notice of others that see the tensor there: it
is an output of the model, or the body of an If or Loop reads it. That is the tensor a Transpose reads; or, where that is
rounded, the one it gives: ONNX Runtime moves Transposes along, and writes some of its own around convolutions, and one that is
undone by this one then stands behind its result, in front of what is rounded. Behind a Max of one tensor, of which it does not
know that it changes nothing, nobody else sees what it rounds.
"""

from __future__ import annotations

from collections.abc import Iterator

from amct_lite import ir
from amct_lite.ir.build import Inserter
from amct_lite.ops import readers_behind
from amct_lite.passes.readers import SIZES


def keep_unrounded(model: ir.Model) -> None:
    """In place. `model`: its pairs are written."""
    for node in tuple(model.graph):
        if node.op_type == "Transpose" and not node.domain and (_spoils_what_it_reads(node) or _is_spoiled(node)):
            ir.replace_input(node, 0, Inserter(node, f"{node.name}.apart").op("Max", node.inputs[0]))


def _spoils_what_it_reads(transpose: ir.Node) -> bool:
    """Seen by others than nodes of the same graph. (If such a node reads its values, too, ONNX Runtime leaves it alone; but of
    equal Transposes it makes one, and who asks for sizes may be gone by then.)"""
    value = transpose.inputs[0]
    assert value is not None
    beside = {reader.op_type for reader in _readers(value) if reader.graph is transpose.graph} - SIZES
    seen = beside == {"Transpose"} and _is_seen_elsewhere(value) and value.producer() is not None
    return seen and _is_rounded(transpose)


def _is_spoiled(transpose: ir.Node) -> bool:
    """What it gives."""
    return _is_seen_elsewhere(transpose.outputs[0]) and any(map(_is_rounded, _beside(transpose)))


def _beside(transpose: ir.Node) -> Iterator[ir.Node]:
    """Who else reads what it or a Transpose in front of it reads."""
    node: ir.Node | None = transpose
    while node is not None and node.op_type == "Transpose":
        value = node.inputs[0]
        assert value is not None
        yield from (reader for reader in _readers(value) if reader is not node)
        node = value.producer()


def _is_seen_elsewhere(value: ir.Value) -> bool:
    return value.is_graph_output() or any(reader.graph is not value.graph for reader in _readers(value))


def _readers(value: ir.Value) -> list[ir.Node]:
    return [use.node for use in ir.uses(value)]


def _is_rounded(node: ir.Node) -> bool:
    return any(reader.op_type == "QuantizeLinear" for reader in readers_behind(node))
