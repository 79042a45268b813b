"""What a graph is made of, put in and taken out: nodes, initializers, inputs. Each edit leaves it valid.

Values and nodes are held as objects; a value's users include the nodes of subgraphs that capture it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from onnx_ir import (
    Attr,
    AttributeType,
    DataType,
    Graph,
    Model,
    Node,
    Shape,
    TensorType,
    Value,
)

from amct_lite.ir.attributes import new_attribute, text_tensor
from amct_lite.ir.bodies import bodies
from amct_lite.ir.naming import note_edit, unique_name
from amct_lite.ir.stored import tensor_of
from amct_lite.types import AnyArray


class Usage(NamedTuple):
    """Input `idx` of `node` reads the value."""

    node: Node
    idx: int


def uses(value: Value) -> tuple[Usage, ...]:
    """Who reads `value` now, nodes of subgraphs included: a snapshot, safe to iterate while rewiring."""
    return tuple(Usage(node, index) for node, index in value.uses())


def producer_of(value: Value | None) -> Node | None:
    """The node that gives `value`; None for inputs and constants, and for an absent input."""
    return value.producer() if value is not None else None


def graph_of(node: Node) -> Graph:
    """The graph in which `node` stands. Raises ValueError if it stands in none."""
    if not isinstance(node.graph, Graph):
        raise ValueError(f"{node.name!r} stands in no graph")  # noqa: TRY004 - the type is not what is wrong
    return node.graph


def constant_of(value: Value | None) -> AnyArray | None:
    """The array of an initializer (not a copy: never write to it); None for everything else.

    An initializer that is also an input of the graph is none: who runs the model can change it.
    """
    if value is None or value.const_value is None or not value.is_initializer() or value.is_graph_input():
        return None
    return value.const_value.numpy()


def add_initializer(graph: Graph, name: str, array: AnyArray) -> Value:
    """A new initializer; its name is made unique, `value.name` tells it. array : text, or as `tensor_of` takes it."""
    unique = unique_name(graph, name)
    tensor = text_tensor(array, unique) if array.dtype.kind in "OSU" else tensor_of(array, None, unique)
    value = Value(name=unique, type=TensorType(tensor.dtype), shape=Shape(array.shape), const_value=tensor)
    graph.register_initializer(value)
    note_edit(graph, initializers=1)
    return value


def remove_initializer(value: Value) -> None:
    """Take an initializer that nobody reads out of its graph."""
    assert isinstance(value.graph, Graph), "an initializer belongs to a graph"
    graph = value.graph
    del graph.initializers[str(value.name)]
    note_edit(graph, initializers=-1)


def replace_constant(value: Value, array: AnyArray) -> None:
    """Let an initializer hold `array`, as `tensor_of` takes it, of the same shape and type, for all who read it."""
    value.const_value = tensor_of(array, None, str(value.name))


def new_input(model: Model, name: str, dtype: DataType, shape: Sequence[int | str | None] | None = None) -> Value:
    """Append a graph input; its name is made unique."""
    value = Value(name=unique_name(model.graph, name), type=TensorType(dtype), shape=None if shape is None else Shape(shape))
    model.graph.inputs.append(value)
    note_edit(model.graph, inputs=1)
    return value


def new_node(
    op_type: str,
    inputs: Iterable[Value | None],
    *,
    name: str,
    domain: str = "",
    attributes: Mapping[str, Any] | None = None,
    outputs: int | Sequence[str] = 1,
) -> Node:
    """A node that stands in no graph yet.

    attributes : as for `set_attribute`; None leaves one out.
    outputs : their names, or their number; then they are called `<name>.output0` and so on.
    """
    names = [f"{name}.output{index}" for index in range(outputs)] if isinstance(outputs, int) else outputs
    return Node(
        domain,
        op_type,
        tuple(inputs),
        [new_attribute(key, value) for key, value in (attributes or {}).items() if value is not None],
        outputs=[Value(name=output) for output in names],
        name=name,
    )


def copy_node(node: Node, suffix: str, replaced: Mapping[Value, Value] = MappingProxyType({})) -> Node:
    """A copy of `node` behind it in its graph, which reads `replaced[v]` where `node` (or a graph inside it) reads v. Its name
    and those of its outputs end in `suffix`."""
    attributes = {
        name: Attr(name, found.type, _copied_body(found.value, replaced), doc_string=found.doc_string)
        if found.type in (AttributeType.GRAPH, AttributeType.GRAPHS)
        else found
        for name, found in node.attributes.items()
    }
    copy = Node(
        node.domain,
        node.op_type,
        [None if value is None else replaced.get(value, value) for value in node.inputs],
        tuple(attributes.values()),
        overload=node.overload,
        outputs=[
            Value(name=value.name and f"{value.name}{suffix}", type=value.type, shape=value.shape) for value in node.outputs
        ],
        name=f"{node.name}{suffix}",
    )
    insert_after(node, copy)
    return copy


def _copied_body(body: Any, replaced: Mapping[Value, Value]) -> Any:
    if not isinstance(body, Graph):
        return [_copied_body(graph, replaced) for graph in body]
    copy = body.clone(allow_outer_scope_values=True)
    for node in copy.all_nodes():
        for index, value in enumerate(node.inputs):
            if value is not None and value in replaced:
                node.replace_input_with(index, replaced[value])
    return copy


def insert_before(node: Node, new: Node | Sequence[Node]) -> None:
    """Insert `new` right before `node`, in its graph."""
    graph = graph_of(node)
    graph.insert_before(node, new)
    note_edit(graph, inserted=_tuple(new))


def insert_after(node: Node, new: Node | Sequence[Node]) -> None:
    """Insert `new` right after `node`, in its graph."""
    graph = graph_of(node)
    graph.insert_after(node, new)
    note_edit(graph, inserted=_tuple(new))


def append(graph: Graph, node: Node) -> None:
    """Put `node` at the end of `graph`."""
    graph.append(node)
    note_edit(graph, inserted=(node,))


def remove_node(node: Node) -> None:
    """Take `node` out; neither it nor its subgraphs read anything afterwards.

    Raises ValueError, and changes nothing, while one of its outputs is read or is a graph output.
    """
    graph = graph_of(node)
    for output in node.outputs:
        if output.uses() or output.is_graph_output():
            raise ValueError(f"{node.name!r} cannot be removed: its output {output.name!r} is still in use")
    detach(node)
    graph.remove(node)
    note_edit(graph, removed=1)


def detach(node: Node) -> None:
    """Make `node` and the nodes of its subgraphs stop reading anything."""
    for inner in (inner for body in bodies(node) for inner in body):
        detach(inner)
    for index in range(len(node.inputs)):
        node.replace_input_with(index, None)


def remove_unused(model: Model) -> int:
    """Remove the nodes and initializers of the main graph that nobody reads; returns how many there were."""
    graph, removed = model.graph, 0
    for node in tuple(reversed(graph)):
        if not any(output.uses() or output.is_graph_output() for output in node.outputs):
            remove_node(node)
            removed += 1
    for value in tuple(graph.initializers.values()):
        if not (value.uses() or value.is_graph_output() or value.is_graph_input()):
            remove_initializer(value)
            removed += 1
    return removed


def _tuple(nodes: Node | Sequence[Node]) -> Sequence[Node]:
    return (nodes,) if isinstance(nodes, Node) else nodes
