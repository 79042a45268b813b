"""A network cut where few tensors cross, so that behind a change only the rest of it is run.

A cut stands between two layers, at the place with the fewest crossing tensors (behind a residual block there is one) and as far
down as it can, so that what follows a layer stays with it. A tensor is held by name.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from amct_lite import ir
from amct_lite.ops import Layer, bind
from amct_lite.runtime import RuntimeOptions, Session, open_session
from amct_lite.types import AnyArray

FEWEST_LAYERS = 2
MOST_COPIES = 4000
"""Of nodes, in the branches of one piece. Shorter pieces cost more conversions of layouts and fewer fusions at their borders,
longer ones take ONNX Runtime long to open."""

Tensors = dict[str, AnyArray]
_FEW = 1024


@dataclass(frozen=True, eq=False)
class Piece:
    """model: computes `gives` from what it reads. layers: the names of the layers in it, in order."""

    model: ir.Model
    reads: tuple[str, ...]
    gives: tuple[str, ...]
    layers: tuple[str, ...]


def layers_a_piece(nodes: int, layers: int, variants: int) -> int:
    """The fewest layers of a piece, so that those with twice as many stay below MOST_COPIES: each variant copies on average
    half of the nodes around it."""
    return max(FEWEST_LAYERS, math.isqrt(MOST_COPIES * layers * layers // (2 * nodes * variants)))


def cut(model: ir.Model, layers: Collection[str], fewest: int) -> tuple[Piece, ...]:
    """`model` in pieces of `fewest` to `2 fewest - 1` layers (the last one more or less), in order. Weights are shared with
    `model`."""
    nodes = list(model.graph)
    wanted = {str(value.name) for value in model.graph.outputs}
    given: list[str] = []
    pieces = []
    for start, end in _ranges(nodes, layers, fewest):
        later = {value for node in nodes[end:] for value in ir.reads(node)}
        results = [value for node in nodes[start:end] for value in node.outputs]
        gives = [str(value.name) for value in results if value in later or value.name in wanted]
        if not gives:
            continue
        piece = extract_open(model, gives, given)
        reads = tuple(str(value.name) for value in piece.graph.inputs)
        found = tuple(str(node.name) for node in nodes[start:end] if node.name in layers)
        pieces.append(Piece(piece, reads, tuple(gives), found))
        given += gives
    return tuple(pieces)


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


def _ranges(nodes: Sequence[ir.Node], layers: Collection[str], fewest: int) -> list[tuple[int, int]]:
    """[start, end) of each piece."""
    crossing = _crossing(nodes, layers)
    for place in _inside_layers(nodes, layers):
        crossing[place] = None
    ranges, start, passed = [], 0, 0
    best: tuple[tuple[int, int], int, int] | None = None
    for place, node in enumerate(nodes):
        if node.name in layers:
            if passed >= 2 * fewest - 1 and best is not None:
                end = -best[2]
                ranges.append((start, end))
                start, best = end, None
                passed = sum(n.name in layers for n in nodes[end:place])
            passed += 1
        tensors = crossing[place]
        if passed >= fewest and tensors is not None and place + 1 < len(nodes):
            found = (tensors, passed, -(place + 1))
            best = found if best is None or found < best else best
    return [*ranges, (start, len(nodes))]


def _crossing(nodes: Sequence[ir.Node], layers: Collection[str]) -> list[tuple[int, int] | None]:
    """How many tensors are alive behind each node, and how many readers they have there that are no layers: such a reader,
    fused into the layer in front of it, is not where its other input comes in from outside. None where a cut cannot be,
    because the type of a tensor is not known."""
    readers: dict[ir.Value, list[tuple[int, bool]]] = {}
    for place, node in enumerate(nodes):
        for value in ir.reads(node):
            readers.setdefault(value, []).append((place, node.name in layers))
    alive: set[ir.Value] = set()
    counts: list[tuple[int, int] | None] = []
    for place, node in enumerate(nodes):
        alive.update(value for value in node.outputs if value in readers)
        alive = {value for value in alive if readers[value][-1][0] > place}
        others = sum(at > place and not layer for value in alive for at, layer in readers[value])
        typed = all(isinstance(value.type, ir.TensorType) and value.dtype is not None for value in alive)
        counts.append((len(alive), others) if typed else None)
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
        self._sessions: dict[Piece, Session] = {}

    def run(self, piece: Piece, tensors: Mapping[str, AnyArray]) -> Tensors:
        """What a piece gives."""
        if piece not in self._sessions:
            self._sessions[piece] = open_session(piece.model, self._options)
        results = self._sessions[piece].run_inside({name: tensors[name] for name in piece.reads}, piece.gives)
        return dict(zip(piece.gives, results, strict=True))

    def read_behind(self, number: int) -> frozenset[str]:
        """The names of what pieces behind number `number` read, and of the outputs."""
        return frozenset(self.outputs).union(*(piece.reads for piece in self.pieces[number + 1 :]))


def differing(tensors: Tensors, exact: Mapping[str, AnyArray]) -> Tensors:
    """Those of `tensors` that are not what they are in `exact`."""
    return {name: array for name, array in tensors.items() if _differs(array, exact[name])}


def _differs(array: AnyArray, exact: AnyArray) -> bool:
    """A few values tell it mostly; all of them are looked at only where these are the same."""
    few = (array.reshape(-1)[:_FEW], exact.reshape(-1)[:_FEW])
    return not np.array_equal(*few) or not np.array_equal(array, exact)
