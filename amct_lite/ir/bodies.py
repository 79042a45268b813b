"""Graphs inside of graphs: the bodies that If, Loop, Scan and their like carry as attributes."""

from __future__ import annotations

from collections.abc import Iterator

from onnx_ir import AttributeType, Graph, Model, Node


def bodies(node: Node) -> list[Graph]:
    """The graphs that `node` carries as attributes."""
    found: list[Graph] = []
    for attribute in node.attributes.data.values():  # the dict itself: most nodes of most models pass here, often
        if attribute.type == AttributeType.GRAPH and not attribute.is_ref():
            found.append(attribute.value)
        elif attribute.type == AttributeType.GRAPHS and not attribute.is_ref():
            found.extend(attribute.value)
    return found


def every_graph(model: Model) -> Iterator[Graph]:
    """The main graph, those of the functions, and all graphs inside of them."""
    for graph in (model.graph, *(function.graph for function in model.functions.values())):
        yield from graphs_from(graph)


def graphs_from(graph: Graph) -> Iterator[Graph]:
    """`graph` and all graphs inside of it, each before those inside of it."""
    yield graph
    for node in graph:
        for body in bodies(node):
            yield from graphs_from(body)
