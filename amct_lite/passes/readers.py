"""Who reads a value.

A value may be read by nodes of the main graph, by the body of an If/Loop/Scan that captures it, and by whoever takes it
as an output of the model. A pass that gives a value a new meaning has to know that nobody else sees it.
"""

from __future__ import annotations

from amct_lite import ir

SIZES = frozenset({"Shape", "Size"})
"""They read no values: whatever holds a tensor's values, as integers for instance, serves them as well."""


def sole_reader(value: ir.Value) -> ir.Node | None:
    """The node that alone reads `value`, once, in the graph that produces it; None for every other case."""
    uses = ir.uses(value)
    if value.is_graph_output() or len(uses) != 1 or uses[0].node.graph is not value.graph:
        return None
    return uses[0].node


def giving_values(graph: ir.Graph) -> frozenset[ir.Node]:
    """The nodes of which somebody wants values, directly or behind others, and not their sizes alone."""
    found: set[ir.Node] = set()
    for node in reversed(graph):
        readers = (use.node for value in node.outputs for use in ir.uses(value))
        wanted = (
            reader in found or reader.graph is not graph for reader in readers if reader.op_type not in SIZES or reader.domain
        )
        if any(value.is_graph_output() for value in node.outputs) or any(wanted):
            found.add(node)
    return frozenset(found)
