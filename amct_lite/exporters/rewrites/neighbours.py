"""Who computes what a node reads, and who reads what it computes, seen through pairs and what keeps tensors within bounds."""

from __future__ import annotations

from amct_lite import ir
from amct_lite.exporters.pairs import PAIR
from amct_lite.passes.bound_parts import BOUNDS

_PASSING = BOUNDS | PAIR


def source_of(value: ir.Value | None, through: frozenset[str]) -> ir.Node | None:
    """The node that `value` comes from, in front of those of the types `through`."""
    node = ir.producer_of(value)
    return source_of(node.inputs[0], through) if node is not None and node.op_type in through else node


def rounded_by(node: ir.Node) -> ir.Node | None:
    """The QuantizeLinear that alone sees what `node` computes, whose kernel is an integer one then."""
    readers = [[use.node for use in ir.uses(value)] for value in private(node.outputs[0])]
    return next((nodes[0] for nodes in readers if len(nodes) == 1 and nodes[0].op_type == "QuantizeLinear"), None)


def kernel_in_front(quantize: ir.Node) -> ir.Node | None:
    """The node whose result, perhaps kept within bounds, `quantize` rounds."""
    return source_of(quantize.inputs[0], BOUNDS)


def read_alone(node: ir.Node, through: frozenset[str] = _PASSING) -> ir.Node | None:
    """The node whose result `node`, and nobody else, reads. Between the two may stand nodes of the types `through`."""
    front = source_of(node.inputs[0], through)
    behind = private(front.outputs[0], through) if front is not None else ()
    return front if behind and [use.node for use in ir.uses(behind[-1])] == [node] else None


def private(value: ir.Value, through: frozenset[str] = _PASSING) -> tuple[ir.Value, ...]:
    """`value` and what nodes of the types `through` make of it on the way to those that read it; empty if it is seen
    elsewhere, too."""
    found = [value]
    while len(readers := ir.uses(found[-1])) == 1 and readers[0].node.op_type in through:
        found.append(readers[0].node.outputs[0])
    return () if any(one.is_graph_output() for one in found) else tuple(found)
