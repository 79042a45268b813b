"""Small edits of a graph, each of which leaves it valid.

Values and nodes are held as objects; a value's users include the nodes of subgraphs that capture it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar, cast, overload

import numpy as np
import onnx_ir
from onnx_ir import (
    Attr,
    AttributeType,
    DataType,
    Graph,
    Model,
    Node,
    Shape,
    StringTensor,
    Tensor,
    TensorProtocol,
    TensorType,
    Value,
)

from amct_lite.ir.bodies import bodies
from amct_lite.ir.naming import note_edit, unique_name
from amct_lite.ir.stored import tensor_of
from amct_lite.types import AnyArray

T = TypeVar("T")
_SCALARS = {int: AttributeType.INT, float: AttributeType.FLOAT, str: AttributeType.STRING}
_LISTS = {int: AttributeType.INTS, float: AttributeType.FLOATS, str: AttributeType.STRINGS}


class Usage(NamedTuple):
    """Input `idx` of `node` reads the value."""

    node: Node
    idx: int


def uses(value: Value) -> tuple[Usage, ...]:
    """Who reads `value` now, nodes of subgraphs included: a snapshot, safe to iterate while rewiring."""
    return tuple(Usage(node, index) for node, index in value.uses())


def constant_of(value: Value | None) -> AnyArray | None:
    """The array of an initializer (not a copy: never write to it); None for everything else.

    An initializer that is also an input of the graph is none: who runs the model can change it.
    """
    if value is None or value.const_value is None or not value.is_initializer() or value.is_graph_input():
        return None
    return value.const_value.numpy()


@overload
def attribute(node: Node, name: str, default: None = None) -> Any: ...
@overload
def attribute(node: Node, name: str, default: T) -> T: ...
def attribute(node: Node, name: str, default: Any = None) -> Any:
    """The attribute as a Python value: int, float, str, a list of these, an array, or a Graph.

    Raises ValueError for a reference to an attribute of the enclosing function, whose value is not known here.
    """
    found = node.attributes.get(name)
    if found is None:
        return default
    if found.is_ref():
        raise ValueError(f"attribute {name!r} of {node.name!r} refers to an attribute of the function around it")
    value = found.value
    if found.type == AttributeType.TENSOR:  # asking the value for its protocol takes fifty times as long
        return value.numpy()
    return list(value) if isinstance(value, tuple | list) else value


def set_attribute(node: Node, name: str, value: Any) -> None:
    """Set an attribute from a Python value, an array, or an Attr."""
    node.attributes[name] = _attribute(name, value)


def _attribute(name: str, value: Any) -> Attr:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, np.ndarray):
        value = _text(value, name) if value.dtype.kind in "OSU" else Tensor(np.asarray(value, order="C"), name=name)
        kind: AttributeType | None = AttributeType.TENSOR
    elif isinstance(value, list | tuple):
        value = [item.item() if isinstance(item, np.generic) else item for item in value]
        # an empty list does not tell its type; lists of ints are the ones that ops leave empty
        kind = next((kind for of, kind in _LISTS.items() if all(isinstance(item, of) for item in value)), None)
    else:
        kind = next((kind for of, kind in _SCALARS.items() if isinstance(value, of)), None)
    return Attr(name, kind, value) if kind else onnx_ir.convenience.convert_attribute(name, value)


def add_initializer(graph: Graph, name: str, array: AnyArray) -> Value:
    """A new initializer; its name is made unique, `value.name` tells it. array : text, or as `tensor_of` takes it."""
    unique = unique_name(graph, name)
    tensor = _text(array, unique) if array.dtype.kind in "OSU" else tensor_of(array, None, unique)
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


def _text(array: AnyArray, name: str) -> TensorProtocol:
    words = [word if isinstance(word, bytes) else str(word).encode() for word in array.flat]
    return StringTensor(words, shape=Shape(array.shape), name=name)


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
        [_attribute(key, value) for key, value in (attributes or {}).items() if value is not None],
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
    graph = _graph_of(node)
    graph.insert_before(node, new)
    note_edit(graph, inserted=_tuple(new))


def insert_after(node: Node, new: Node | Sequence[Node]) -> None:
    """Insert `new` right after `node`, in its graph."""
    graph = _graph_of(node)
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
    graph = _graph_of(node)
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
    for index, output in enumerate(tuple(graph.outputs)):
        if output is value:
            graph.outputs[index] = replacement
    kept, freed = cast(str, value.name), replacement.name
    if value.is_initializer():
        value.name = unique_name(graph, f"{kept}.value")
        replacement.name = kept
        value.name = freed
    else:
        value.name = None
        replacement.name = kept
        value.name = freed


def _graph_of(node: Node) -> Graph:
    if not isinstance(node.graph, Graph):
        raise ValueError(f"{node.name!r} stands in no graph")  # noqa: TRY004 - the type is not what is wrong
    return node.graph


def _tuple(nodes: Node | Sequence[Node]) -> Sequence[Node]:
    return (nodes,) if isinstance(nodes, Node) else nodes
