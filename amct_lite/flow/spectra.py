"""Layers that compute a spectrum: what becomes of their results is squared and goes into a logarithm.

Their own rounding is small beside their largest values. The logarithm makes as much of the smallest ones: two networks that
rate speech from sound, with a Fourier transform written as a Conv in front, lose 19 and 28 dB of their results by that layer.
"""

from __future__ import annotations

from collections import defaultdict
from enum import Enum, auto

from amct_lite import ir
from amct_lite.ops import WEIGHTED

_SQUARING = frozenset({"Abs", "Pow", "ReduceL1", "ReduceL2", "ReduceSumSquare", "Sqrt"})
_LINEAR = frozenset(
    {"Add", "Concat", "Cast", "Div", "Flatten", "Gather", "Identity", "Mul", "Neg", "Pad", "ReduceSum", "Reshape", "Slice"}
    | {"Split", "Squeeze", "Sub", "Sum", "Transpose", "Unsqueeze"}
)
_PASSING = _SQUARING | _LINEAR | {"Clip", "Max", "Relu"}


class _Stage(Enum):
    """Of the way up from a logarithm: in front of it; in front of a layer that joins squares to bands, as a mel filter does;
    among squares; in front of the layer whose results are squared."""

    LOGARITHM = auto()
    BANDS = auto()
    SQUARES = auto()
    FILTERS = auto()


def spectral_layers(graph: ir.Graph) -> frozenset[ir.Node]:
    """The layers of `graph` that are found on the way up from a Log: behind squares, those that join squares to bands, and
    filters in front, with nothing but linear operators between."""
    squares = _squares(graph)
    stages: dict[ir.Value, set[_Stage]] = defaultdict(set)
    found: set[ir.Node] = set()
    for node in reversed(graph):
        here = {stage for value in node.outputs for stage in stages[value]}
        above: set[_Stage] = set()
        if node.domain:
            continue
        if node.op_type == "Log":
            above = {_Stage.LOGARITHM}
        elif node.op_type in WEIGHTED:
            data = _data(node)
            if here & {_Stage.SQUARES, _Stage.FILTERS}:
                found.add(node)
                above.add(_Stage.FILTERS)
            if _Stage.LOGARITHM in here and len(data) == 1 and data[0] in squares:
                found.add(node)
                above.add(_Stage.BANDS)
        elif node.op_type in _PASSING:
            passed = here if node.op_type in _LINEAR else here - {_Stage.FILTERS}
            above = {_Stage.SQUARES if _is_square(node) and stage is not _Stage.FILTERS else stage for stage in passed}
        for value in _data(node) if above else ():
            stages[value] |= above
    return frozenset(found)


def _squares(graph: ir.Graph) -> set[ir.Value]:
    """What is computed of the squares of a layer's results, with nothing else between."""
    results: set[ir.Value] = set()
    squares: set[ir.Value] = set()
    for node in graph:
        data = _data(node)
        if node.domain:
            continue
        if node.op_type in WEIGHTED:
            results.update(node.outputs)
        elif node.op_type in _PASSING:
            if not results.isdisjoint(data):
                (squares if _is_square(node) else results).update(node.outputs)
            if not squares.isdisjoint(data):
                squares.update(node.outputs)
    return squares


def _is_square(node: ir.Node) -> bool:
    """Whether it gives squares or magnitudes."""
    if node.op_type == "Mul":
        return node.inputs[0] is node.inputs[1]
    return node.op_type in _SQUARING


def _data(node: ir.Node) -> list[ir.Value]:
    """Its inputs that are computed; of a Pow the basis."""
    inputs = node.inputs[:1] if node.op_type == "Pow" else node.inputs
    return [value for value in inputs if value is not None and ir.constant_of(value) is None]
