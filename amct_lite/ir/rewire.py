"""Who reads what: other values in the place of those that are read. What becomes a graph output is called as that was."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from onnx_ir import Graph, Node, Shape, Value

from amct_lite.ir.edit import append, new_node, remove_node
from amct_lite.ir.naming import unique_name


def replace_input(node: Node, index: int, value: Value | None) -> None:
    """Make input `index` read `value`; inputs that the node does not have yet are added as absent."""
    if index >= len(node.inputs):
        node.resize_inputs(index + 1)
    node.replace_input_with(index, value)


def redirect(value: Value, replacement: Value, users: Iterable[tuple[Node, int]] | None = None) -> None:
    """Let the readers of `value` read `replacement` instead, nodes of subgraphs included.

    users : (node, index) pairs to move; None moves all of them and also lets `replacement` be the graph output that
    `value` was, under the same name (the two swap names). A replacement that must keep its own name, since it is an
    input or another output of the graph, is passed on through an Identity.
    """
    if value is replacement:
        return
    for node, index in value.uses() if users is None else tuple(users):
        node.replace_input_with(index, replacement)
    if users is None and value.is_graph_output():
        _take_over_output(value, replacement)


def replace_output(graph: Graph, old: Value, new: Value) -> None:
    """Make `new` the output of `graph` that `old` is; both keep their names."""
    for index, output in enumerate(tuple(graph.outputs)):
        if output is old:
            graph.outputs[index] = new


def replace_node(node: Node, value: Value) -> None:
    """Remove `node`; `value`, which another node gives, takes the place of its only result, under the same name.

    value : no input and no output of the graph. Its type, and sizes, are those of the result where it has none.
    """
    result = node.outputs[0]
    name = result.name  # which an output of the graph swaps with who takes it over
    value.type = value.type or result.type
    value.shape = _most_known(value.shape, result.shape)
    redirect(result, value)
    remove_node(node)
    value.name = name


def merge_constants(graph: Graph) -> None:
    """Let the readers of initializers that hold the very same tensor read the first of them."""
    first: dict[int, Value] = {}
    for value in tuple(graph.initializers.values()):
        own = value.const_value is None or value.is_graph_input() or value.is_graph_output()
        if not own:
            redirect(value, first.setdefault(id(value.const_value), value))


def _most_known(inferred: Shape | None, declared: Shape | None) -> Shape | None:
    """The sizes of one tensor that are inferred, and those that are declared where nothing is."""
    if inferred is None or declared is None or len(inferred) != len(declared):
        return declared if inferred is None else inferred
    unknown = [not isinstance(dim, int) and dim.value is None for dim in inferred]
    return Shape([old if new else dim for dim, old, new in zip(inferred, declared, unknown, strict=True)])


def _take_over_output(value: Value, replacement: Value) -> None:
    graph = value.graph
    assert isinstance(graph, Graph), "a graph output belongs to a graph"
    if replacement.is_graph_input() or replacement.is_graph_output() or replacement.graph is not graph:
        name = unique_name(graph, f"{value.name}.identity")
        node = new_node("Identity", [replacement], name=name)
        append(graph, node)
        replacement = node.outputs[0]
    replacement.type = replacement.type or value.type
    replacement.shape = _most_known(replacement.shape, value.shape)
    replace_output(graph, value, replacement)
    kept, freed = cast(str, value.name), replacement.name
    if value.is_initializer():
        value.name = unique_name(graph, f"{kept}.value")
        replacement.name = kept
        value.name = freed
    else:
        value.name = None
        replacement.name = kept
        value.name = freed
