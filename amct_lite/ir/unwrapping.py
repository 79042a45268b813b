"""A node that runs a body of its own becomes the nodes of that body."""

from __future__ import annotations

from onnx_ir import Graph, Node

from amct_lite.ir.build import Inserter
from amct_lite.ir.edit import graph_of, insert_before, remove_node
from amct_lite.ir.naming import name_within
from amct_lite.ir.rewire import redirect


def unwrap(node: Node, body: Graph) -> None:
    """Let `body`, which `node` carries and which takes no inputs, compute the results of `node` in the graph around; in place.

    What is `y` in the body is `<node>.y` then, a node or a value; an Identity gives each result.
    """
    graph, results = graph_of(node), tuple(body.outputs)
    body.outputs.clear()
    for value in tuple(body.initializers.values()):
        del body.initializers[str(value.name)]
        value.name = f"{node.name}.{value.name}"
        graph.register_initializer(value)
    for part in tuple(body):
        body.remove(part)
        name_within(str(node.name), part)
        insert_before(node, part)
    b = Inserter(node, str(node.name))
    for old, result in zip(node.outputs, results, strict=True):
        new = b.op("Identity", result)
        new.type, new.shape, name = old.type, old.shape, old.name
        redirect(old, new)
        old.name, new.name = None, name
    remove_node(node)
