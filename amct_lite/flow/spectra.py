"""Layers that compute a spectrum: what becomes of their results is squared and goes into a logarithm.

Their own rounding is small beside their largest values. The logarithm makes as much of the smallest ones: two networks that
rate speech from sound, with a Fourier transform written as a Conv in front, lose 19 and 28 dB of their results by that layer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from amct_lite import ir
from amct_lite.ops import WEIGHTED

_SQUARING = frozenset({"Abs", "Pow", "ReduceL1", "ReduceL2", "ReduceSumSquare", "Sqrt"})
_LINEAR = frozenset(
    {"Add", "Concat", "Cast", "Div", "Flatten", "Gather", "Identity", "Mul", "Neg", "Pad", "ReduceSum", "Reshape", "Slice"}
    | {"Split", "Squeeze", "Sub", "Sum", "Transpose", "Unsqueeze"}
)
_PASSING = _LINEAR | {"Clip", "Max", "Relu"}


@dataclass(frozen=True)
class _Way:
    """From a logarithm up to `value`. squared: whether something on it squares; bands: a layer on it that joins what was
    squared to bands, as a mel filter does; filtering: whether it has passed the layer whose results are squared."""

    value: ir.Value
    squared: bool = False
    bands: ir.Node | None = None
    filtering: bool = False


def spectral_layers(graph: ir.Graph) -> frozenset[ir.Node]:
    """The layers of `graph` that are found on the way up from a Log: behind squares, those that join squares to bands, and
    filters in front, with nothing but linear operators between."""
    logarithms = (node for node in graph if node.op_type == "Log" and not node.domain)
    ways = [_Way(value) for node in logarithms for value in node.inputs if value is not None]
    seen: set[_Way] = set()
    found: set[ir.Node] = set()
    while ways:
        way = ways.pop()
        node = way.value.producer()
        if way not in seen and node is not None and not node.domain:
            seen.add(way)
            if node.op_type in WEIGHTED and way.squared:
                found |= {node, way.bands or node}
            ways += _above(node, way)
    return frozenset(found)


def _above(node: ir.Node, way: _Way) -> Iterator[_Way]:
    data = [value for value in node.inputs if value is not None and ir.constant_of(value) is None]
    if node.op_type in WEIGHTED:
        if len(data) == 1 and (way.squared or way.bands is None):
            yield replace(way, value=data[0], bands=way.bands or node, filtering=way.squared)
    elif node.op_type in (_LINEAR if way.filtering else _SQUARING | _PASSING):
        squares = node.op_type in _SQUARING or (node.op_type == "Mul" and len(data) == 2 and data[0] is data[1])
        yield from (replace(way, value=value, squared=way.squared or squares) for value in data)
