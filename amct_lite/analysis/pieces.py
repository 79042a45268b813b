"""A network cut where few tensors cross, so that behind a change only the rest of it is run.

A cut stands between two layers, at the place with the fewest crossing tensors (behind a residual block there is one) and as far
down as it can, so that what follows a layer stays with it. A tensor is held by name; what did not change is never computed
again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from amct_lite import ir
from amct_lite.ops import Layer, bind
from amct_lite.runtime import RuntimeOptions, Session, open_session
from amct_lite.types import AnyArray

MOST_PIECES = 24
"""More pieces repeat less of the network, but cost fusions across their borders and calls."""
FEWEST_LAYERS = 2
STRIDE = 4
"""Behind a change pieces are run so many at a time, as one model, which saves most of these costs."""

Tensors = dict[str, AnyArray]
_FEW = 1024


@dataclass(frozen=True, eq=False)
class Piece:
    """model: computes `gives` from what it reads. layers: the names of the layers in it, in order."""

    model: ir.Model
    reads: tuple[str, ...]
    gives: tuple[str, ...]
    layers: tuple[str, ...]


def cut(model: ir.Model, layers: Collection[str], most: int = MOST_PIECES) -> tuple[Piece, ...]:
    """`model` in at most about `most` pieces of two layers or more, in order. Weights are shared with `model`."""
    nodes = list(model.graph)
    step = max(FEWEST_LAYERS, -(-len(layers) // most))
    wanted = {str(value.name) for value in model.graph.outputs}
    given: list[str] = []
    pieces = []
    for start, end in _ranges(model, nodes, layers, step):
        later = {value for node in nodes[end:] for value in ir.reads(node)}
        results = [value for node in nodes[start:end] for value in node.outputs]
        gives = [str(value.name) for value in results if value in later or value.name in wanted]
        if not gives:
            continue
        pieces.append(_piece(model, gives, given, tuple(str(node.name) for node in nodes[start:end] if node.name in layers)))
        given += gives
    return tuple(pieces)


def _piece(model: ir.Model, gives: Sequence[str], given: Sequence[str], layers: tuple[str, ...]) -> Piece:
    piece = extract_open(model, gives, given)
    return Piece(piece, tuple(str(value.name) for value in piece.graph.inputs), tuple(gives), layers)


def extract_open(model: ir.Model, outputs: Sequence[str], available: Collection[str]) -> ir.Model:
    """`ir.extract`, taking batches of any size: a model whose inputs have an open batch may say 1 of the tensors inside.

    Where nothing is known of a tensor (behind operators of other domains), it is what layers give: floats.
    """
    piece = ir.extract(model, outputs, available)
    for value in piece.graph.inputs:
        if value.name in available:
            value.type = value.type or ir.TensorType(ir.DataType.FLOAT)
            value.shape = ir.Shape([None, *value.shape[1:]]) if value.shape else None
    return piece


def _ranges(model: ir.Model, nodes: Sequence[ir.Node], layers: Collection[str], step: int) -> list[tuple[int, int]]:
    """[start, end) of each piece: between `step` and `2 step - 1` layers, the last one more or less."""
    crossing = _crossing(nodes)
    for place in _inside_layers(nodes, layers):
        crossing[place] = None
    ranges, start, passed = [], 0, 0
    best: tuple[int, int, int] | None = None
    for place, node in enumerate(nodes):
        if node.name in layers:
            if passed >= 2 * step - 1 and best is not None:
                end = -best[2]
                ranges.append((start, end))
                start, best = end, None
                passed = sum(n.name in layers for n in nodes[end:place])
            passed += 1
        tensors = crossing[place]
        if passed >= step and tensors is not None and place + 1 < len(nodes):
            found = (tensors, passed, -(place + 1))
            best = found if best is None or found < best else best
    return [*ranges, (start, len(nodes))]


def _crossing(nodes: Sequence[ir.Node]) -> list[int | None]:
    """How many tensors are alive behind each node; None where a cut cannot be, because the type of one is not known."""
    last: dict[ir.Value, int] = {}
    for place, node in enumerate(nodes):
        last.update(dict.fromkeys(ir.reads(node), place))
    alive: set[ir.Value] = set()
    counts: list[int | None] = []
    for place, node in enumerate(nodes):
        alive.update(value for value in node.outputs if last.get(value, -1) > place)
        alive.difference_update([value for value in ir.reads(node) if last[value] <= place])
        typed = all(isinstance(value.type, ir.TensorType) and value.dtype is not None for value in alive)
        counts.append(len(alive) if typed else None)
    return counts


def _inside_layers(nodes: Sequence[ir.Node], layers: Collection[str]) -> list[int]:
    """The places between a product and the Add that holds its bias."""
    places = {node: place for place, node in enumerate(nodes)}
    inside: list[int] = []
    for node in nodes:
        layer = bind(node) if node.name in layers else None
        if isinstance(layer, Layer) and layer.bias_node is not None:
            inside += range(places[node], places[layer.bias_node])
    return inside


class Network:
    """The pieces of a model, ready to run, each with one session that is opened when it is first needed."""

    def __init__(self, model: ir.Model, pieces: Sequence[Piece], options: RuntimeOptions) -> None:
        self.pieces = tuple(pieces)
        self.outputs = tuple(str(value.name) for value in model.graph.outputs if value.producer() is not None)
        self._options = options
        self._strides = {first: self._joined(model, first) for first in range(STRIDE, len(self.pieces), STRIDE)}
        self._sessions: dict[Piece, Session] = {}

    def run(self, feeds: Mapping[str, AnyArray]) -> Tensors:
        """The feeds, and everything that any piece gives."""
        tensors = dict(feeds)
        for piece in self.pieces:
            tensors.update(self._piece(piece, tensors))
        return tensors

    def answer(self, feeds: Mapping[str, AnyArray]) -> dict[str, AnyArray]:
        """The outputs of the network."""
        tensors = self.run(feeds)
        return {name: tensors[name] for name in self.outputs}

    def follow(self, exact: Tensors, changed: Tensors, first: int) -> dict[str, AnyArray]:
        """The outputs of the network where `changed` stands in for some of `exact`; pieces from number `first` on are run, and
        only those that read something that has changed."""
        changed = {name: array for name, array in changed.items() if _differs(array, exact[name])}
        while first < len(self.pieces):
            piece = self._strides.get(first, self.pieces[first])
            first += STRIDE if first in self._strides else 1
            if not changed.keys().isdisjoint(piece.reads):
                found = self._piece(piece, {**exact, **changed})
                changed.update({name: array for name, array in found.items() if _differs(array, exact[name])})
        return {name: changed.get(name, exact[name]) for name in self.outputs}

    def _joined(self, model: ir.Model, first: int) -> Piece:
        """STRIDE pieces as one, which gives only what is read behind them."""
        joined, behind = self.pieces[first : first + STRIDE], self.pieces[first + STRIDE :]
        wanted = {*self.outputs, *(name for piece in behind for name in piece.reads)}
        gives = [name for piece in joined for name in piece.gives if name in wanted]
        given = [name for piece in self.pieces[:first] for name in piece.gives]
        return _piece(model, gives, given, tuple(name for piece in joined for name in piece.layers))

    def _piece(self, piece: Piece, tensors: Tensors) -> Tensors:
        if piece not in self._sessions:
            self._sessions[piece] = open_session(piece.model, self._options)
        results = self._sessions[piece].run({name: tensors[name] for name in piece.reads}, piece.gives)
        return dict(zip(piece.gives, results, strict=True))


def _differs(array: AnyArray, exact: AnyArray) -> bool:
    """A few values tell it mostly; all of them are looked at only where these are the same."""
    few = (array.reshape(-1)[:_FEW], exact.reshape(-1)[:_FEW])
    return not np.array_equal(*few) or not np.array_equal(array, exact)
