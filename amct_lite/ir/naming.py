"""Names: every node has a unique one, and new ones never meet an old one.

Records, reports and exported models speak of nodes by name, so the names given here depend on the graph alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from onnx_ir import Graph, Model, Node


def name_nodes(model: Model) -> tuple[str, ...]:
    """Give each node of the graph and of its subgraphs a unique name, in place; returns notes for the user.

    A node without name becomes `{op_type}_{index}`, index being its place in its graph; the second bearer of a name
    gets `_1`, the third `_2`. Nodes of the main graph choose first: an edit of a subgraph changes none of their names.
    """
    graph = model.graph
    nested = [node for subgraph in graph.subgraphs() for node in subgraph]
    taken = {node.name for node in (*graph, *nested) if node.name}
    seen: set[str] = set()
    unnamed = repeated = 0
    for index, node in _numbered(graph):
        name = node.name
        if not name:
            unnamed += 1
            node.name = _free(f"{node.op_type}_{index}", taken)
        elif name in seen:
            repeated += 1
            node.name = _numbered_name(name, taken)
        seen.add(str(node.name))
        taken.add(str(node.name))
    notes = []
    if unnamed:
        notes.append(f"nodes without a name were named after their type and place in the graph ({unnamed})")
    if repeated:
        notes.append(f"nodes with the name of another node got a number ({repeated})")
    return tuple(notes)


def _numbered(graph: Graph) -> Iterator[tuple[int, Node]]:
    yield from enumerate(graph)
    for subgraph in graph.subgraphs():
        yield from enumerate(subgraph)


def _free(hint: str, taken: set[str]) -> str:
    return hint if hint not in taken else _numbered_name(hint, taken)


def _numbered_name(hint: str, taken: set[str]) -> str:
    number = 1
    while f"{hint}_{number}" in taken:
        number += 1
    return f"{hint}_{number}"


@dataclass
class _Names:
    """Names in use or given out. size: nodes, initializers and inputs when `used` was last complete.
    numbers: the last number tried for a hint."""

    used: set[str]
    size: tuple[int, int, int]
    numbers: dict[str, int] = field(default_factory=dict)


# A graph is asked for thousands of names while it is edited; reading all of its names each time would take minutes.
_CACHE: WeakKeyDictionary[Graph, _Names] = WeakKeyDictionary()


def unique_name(graph: Graph, hint: str) -> str:
    """`hint`, or `hint_1`, `hint_2` …: a name that no value and no node of `graph` or its subgraphs bears.

    A name is given out once, also when the caller does not use it.
    """
    names = _names_of(graph)
    name, number = hint, names.numbers.get(hint, 0)
    while name in names.used:
        number += 1
        name = f"{hint}_{number}"
    names.numbers[hint] = number
    names.used.add(name)
    return name


class tracked:  # noqa: N801 - reads as the context that it is; a generator would take longer than what it spares
    """Around an edit of `graph` that adds no names but those of `inserted` and those that `unique_name` gave out.

    It spares the next `unique_name` a look at all nodes.
    """

    def __init__(self, graph: Graph, inserted: Iterable[Node] = ()) -> None:
        self._graph = graph
        self._inserted = tuple(inserted)

    def __enter__(self) -> None:
        names = _CACHE.get(self._graph)
        self._names = names if names is not None and names.size == _size(self._graph) else None

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None and self._names is not None and not any(map(_has_body, self._inserted)):
            for node in self._inserted:
                self._names.used.update(_names_of_node(node))
            self._names.size = _size(self._graph)


def _has_body(node: Node) -> bool:
    return any(attribute.type.name in {"GRAPH", "GRAPHS"} for attribute in node.attributes.values())


def _names_of(graph: Graph) -> _Names:
    size = _size(graph)
    names = _CACHE.get(graph)
    if names is None:
        names = _CACHE[graph] = _Names(set(_read(graph)), size)
    elif names.size != size:
        names.used.update(_read(graph))
        names.size = size
    return names


def _size(graph: Graph) -> tuple[int, int, int]:
    """What changes when names may have come in; outputs are values that the graph has anyway."""
    return graph.num_nodes(), len(graph.initializers), len(graph.inputs)


def _read(graph: Graph) -> Iterator[str]:
    yield from (value.name for value in (*graph.inputs, *graph.outputs) if value.name)
    yield from graph.initializers
    for node in graph.all_nodes():
        yield from _names_of_node(node)
    for subgraph in graph.subgraphs():
        yield from subgraph.initializers
        yield from (value.name for value in subgraph.inputs if value.name)


def _names_of_node(node: Node) -> Iterator[str]:
    if node.name:
        yield node.name
    yield from (value.name for value in node.outputs if value.name)
