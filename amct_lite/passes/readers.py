"""Who reads a value, and how a node stops reading.

A value may be read by nodes of the main graph, by the body of an If/Loop/Scan that captures it, and by whoever takes it
as an output of the model. A pass that gives a value a new meaning has to know that nobody else sees it.
"""

from __future__ import annotations

from collections.abc import Iterator

from amct_lite import ir


def sole_reader(value: ir.Value) -> ir.Node | None:
    """The node that alone reads `value`, once, in the graph that produces it; None for every other case."""
    uses = ir.uses(value)
    if value.is_graph_output() or len(uses) != 1 or uses[0].node.graph is not value.graph:
        return None
    return uses[0].node


def bodies(node: ir.Node) -> Iterator[ir.Graph]:
    """The graphs that `node` carries as attributes: the bodies of If, Loop and Scan."""
    for attribute in node.attributes.values():
        if attribute.is_ref():
            continue
        if attribute.type == ir.AttributeType.GRAPH:
            yield attribute.as_graph()
        elif attribute.type == ir.AttributeType.GRAPHS:
            yield from attribute.as_graphs()


def detach(node: ir.Node) -> None:
    """Make `node` and the nodes in its bodies stop reading anything, so that what they read may count as unread."""
    for body in bodies(node):
        for inner in body.all_nodes():
            detach(inner)
    for index in range(len(node.inputs)):
        node.replace_input_with(index, None)
