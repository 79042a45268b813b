"""Names: every node has a unique one, and new ones never meet an old one.

Records, reports and exported models speak of nodes by name, so the names given here depend on the graph alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from weakref import WeakKeyDictionary

from onnx_ir import Graph, Model, Node

from amct_lite.ir.bodies import bodies, graphs_from


def name_nodes(model: Model) -> tuple[str, ...]:
    """Give each node of the graph and of its subgraphs a unique name, in place; returns notes for the user.

    A node without name becomes `{op_type}_{index}`, index being its place in its graph; the second bearer of a name
    gets `_1`, the third `_2`. Nodes of the main graph choose first: an edit of a subgraph changes none of their names.
    """
    graphs = tuple(graphs_from(model.graph))
    taken = {node.name for graph in graphs for node in graph if node.name}
    seen: set[str] = set()
    unnamed = repeated = 0
    for index, node in chain.from_iterable(map(enumerate, graphs)):
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


def name_within(owner: str, node: Node) -> None:
    """Let `node` and its results be `<owner>.<name>`, in place: a node without name goes by its first result. A result that is
    left out has none, and keeps none.
    """
    named = [value for value in node.outputs if value.name]
    node.name = f"{owner}.{node.name or next((value.name for value in named), node.op_type)}"
    for value in named:
        value.name = f"{owner}.{value.name}"


def _free(hint: str, taken: set[str]) -> str:
    return hint if hint not in taken else _numbered_name(hint, taken)


def _numbered_name(hint: str, taken: set[str]) -> str:
    number = 1
    while f"{hint}_{number}" in taken:
        number += 1
    return f"{hint}_{number}"


@dataclass
class _Names:
    """Names in use or given out. nodes, initializers, inputs: how many of these have theirs in `used`. numbers: the last number
    tried for a hint."""

    used: set[str] = field(default_factory=set)
    nodes: int = 0
    initializers: int = 0
    inputs: int = 0
    numbers: dict[str, int] = field(default_factory=dict)


# A graph is asked for thousands of names while it is edited; reading all of its names each time would take minutes.
_CACHE: WeakKeyDictionary[Graph, _Names] = WeakKeyDictionary()


def unique_name(graph: Graph, hint: str) -> str:
    """`hint`, or `hint_1`, `hint_2` …: a name that no value and no node of `graph` or its subgraphs bears. Nor does one bear
    that of the output of a node with this name, as a constant does that such a node was folded into.

    A name is given out once, also when the caller does not use it.
    """
    names = _names_of(graph)
    name, number = hint, names.numbers.get(hint, 0)
    while name in names.used or f"{name}.output0" in names.used:
        number += 1
        name = f"{hint}_{number}"
    names.numbers[hint] = number
    names.used.add(name)
    return name


def note_edit(graph: Graph, *, inserted: Sequence[Node] = (), removed: int = 0, initializers: int = 0, inputs: int = 0) -> None:
    """To be called after an edit of `graph` that brought in no names but those of the nodes `inserted` and those that
    `unique_name` gave out: it spares the next `unique_name` a look at all nodes.

    removed: how many nodes are gone. initializers, inputs: how many more (less than 0: fewer) there are.
    """
    names = _CACHE.get(graph)
    if names is None or any(map(bodies, inserted)):
        return
    for node in inserted:
        names.used.update(_names_of_node(node))
    names.nodes += len(inserted) - removed
    names.initializers += initializers
    names.inputs += inputs


def _names_of(graph: Graph) -> _Names:
    """Read anew when something came in that nobody noted; outputs are values that the graph has anyway."""
    names = _CACHE.get(graph)
    if names is None:
        names = _CACHE[graph] = _Names()
    nodes, initializers, inputs = len(graph), len(graph.initializers), len(graph.inputs)
    if names.nodes != nodes or names.initializers != initializers or names.inputs != inputs:
        names.used.update(_read(graph))
        names.nodes, names.initializers, names.inputs = nodes, initializers, inputs
    return names


def _read(graph: Graph) -> Iterator[str]:
    for each in graphs_from(graph):
        yield from (value.name for value in (*each.inputs, *each.outputs) if value.name)
        yield from each.initializers
        for node in each:
            yield from _names_of_node(node)


def _names_of_node(node: Node) -> Iterator[str]:
    if node.name:
        yield node.name
    yield from (value.name for value in node.outputs if value.name)
