"""Who reads a value.

A value may be read by nodes of the main graph, by the body of an If/Loop/Scan that captures it, and by whoever takes it
as an output of the model. A pass that gives a value a new meaning has to know that nobody else sees it.
"""

from __future__ import annotations

from amct_lite import ir


def sole_reader(value: ir.Value) -> ir.Node | None:
    """The node that alone reads `value`, once, in the graph that produces it; None for every other case."""
    uses = ir.uses(value)
    if value.is_graph_output() or len(uses) != 1 or uses[0].node.graph is not value.graph:
        return None
    return uses[0].node
