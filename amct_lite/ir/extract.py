"""Cutting a piece out of a graph: what leads to some values, starting from values that are already there."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from onnx_ir import Model, Node, Value, convenience

from amct_lite.ir.bodies import bodies


def extract(model: Model, outputs: Sequence[str], available: Collection[str] = ()) -> Model:
    """A model that computes `outputs` from those of the `available` values that they need, and from graph inputs.

    Weights are shared with `model`, which stays as it is.
    """
    values = {value.name: value for value in (*model.graph.inputs, *(v for node in model.graph for v in node.outputs))}
    targets = [values[name] for name in outputs]
    graph = convenience.extract(model.graph, _frontier(targets, set(available)), targets)
    piece = Model(graph, ir_version=model.ir_version, functions=tuple(model.functions.values()))
    graph.opset_imports.update(model.graph.opset_imports)
    return piece


def _frontier(targets: Sequence[Value], available: set[str]) -> list[Value]:
    """The available values and graph inputs at which the walk up from `targets` ends."""
    found: dict[Value, None] = {}
    seen: set[Node] = set()
    stack = [node for value in targets if (node := value.producer()) is not None]
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        for value in reads(node):
            producer = value.producer()
            if value.name in available or (value.is_graph_input() and not value.is_initializer()):
                found[value] = None
            elif producer is not None:
                stack.append(producer)
    return list(found)


def reads(node: Node) -> list[Value]:
    """Everything `node` reads, values captured by its subgraphs included."""
    found = [value for value in node.inputs if value is not None]
    for graph in bodies(node):
        inner = {value for inner_node in graph.all_nodes() for value in inner_node.outputs} | set(graph.inputs)
        found += [v for n in graph.all_nodes() for v in n.inputs if v is not None and v not in inner]
    return found
