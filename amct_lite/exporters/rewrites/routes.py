"""The ways of channels: through Concat, Split, Slice and channel shuffles between pairs of one grid, which only move them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from amct_lite import ir
from amct_lite.exporters.pairs import grid_of, quantizer_in_front, quantizers
from amct_lite.exporters.rewrites.shuffles import shuffle_that_ends
from amct_lite.types import AnyArray

Channel = tuple[ir.Value, int]
"""The codes that a QuantizeLinear gives, and the number of a channel among them."""
_CHANNELS = 1
"""Their axis."""


class Routes:
    """Where channels come from, and who reads them in the end. Nothing may be rewired while one is in use."""

    def __init__(self, graph: ir.Graph) -> None:
        self._known: dict[ir.Value, tuple[Channel, ...] | None] = {}
        found = {join: _shuffle(join) for join in graph if join.op_type == "Reshape"}
        self._joins = {parts: join for join, parts in found.items() if parts is not None}

    def shuffled(self) -> Iterator[ir.Value]:
        """The codes of what channel shuffles give, in the order of the graph."""
        for join in self._joins.values():
            yield from (quantize.outputs[0] for quantize in quantizers(join))

    def of(self, codes: ir.Value) -> tuple[Channel, ...] | None:
        """Of each channel of `codes`, which one it was when it was computed; None where their number is not known."""
        if codes not in self._known:
            self._known[codes] = self._traced(codes)
        return self._known[codes]

    def _traced(self, codes: ir.Value) -> tuple[Channel, ...] | None:
        node = _computing(codes)
        fronts = _fronts(node) if node is not None else None
        if node is not None and fronts is not None:
            before = [self.of(front.outputs[0]) for front in fronts]
            places = _MOVES[node.op_type](node, _rounded(codes))
            found = [channel for channels in before for channel in channels or ()]
            if places is not None and None not in before:
                return tuple(found[place] for place in places)
        count = _count(_rounded(codes))
        return None if count is None else tuple((codes, index) for index in range(count))

    def readers(self, codes: ir.Value) -> Iterator[ir.Usage]:
        """Who reads channels of `codes`, or what they were dequantized to, and does not only move them."""
        for use in ir.uses(codes):
            result = use.node.outputs[0]
            if use.node.op_type != "DequantizeLinear" or result.is_graph_output():
                yield use
                continue
            for reader in ir.uses(result):
                behind = self._moved(self._joins.get(reader.node, reader.node))
                for moved in behind:
                    yield from self.readers(moved)
                if not behind:
                    yield reader

    def _moved(self, node: ir.Node) -> list[ir.Value]:
        """The codes of all that `node` gives, if it moves them, and nobody sees them but by these."""
        uses = [use for value in node.outputs for use in ir.uses(value)]
        codes = [quantize.outputs[0] for quantize in quantizers(node)]
        seen = any(value.is_graph_output() for value in (*node.outputs, *codes))
        return codes if len(codes) == len(uses) and not seen and all(map(self._passes, codes)) else []

    def _passes(self, codes: ir.Value) -> bool:
        channels = self.of(codes)
        return channels is not None and all(source is not codes for source, _ in channels)


def _computing(codes: ir.Value) -> ir.Node | None:
    """The node that moves what is rounded to `codes`."""
    quantize = codes.producer()
    node = ir.producer_of(quantize.inputs[0]) if quantize is not None else None
    return node if node is not None and node.op_type in _MOVES and not node.domain else None


def _rounded(codes: ir.Value) -> ir.Value:
    quantize = codes.producer()
    value = quantize.inputs[0] if quantize is not None else None
    assert value is not None, "codes are those of a QuantizeLinear"
    return value


def _fronts(node: ir.Node) -> list[ir.Node] | None:
    """The QuantizeLinears in front of all that `node` moves, if they have one grid, and the one behind it, too."""
    first = _shuffle(node) if node.op_type == "Reshape" else node
    if first is None:
        return None
    data = first.inputs if first.op_type == "Concat" else first.inputs[:1]
    fronts = [front for value in data if (front := quantizer_in_front(value)) is not None]
    grids = {grid_of(quantize) for quantize in (*fronts, *quantizers(node))}
    return fronts if len(fronts) == len(data) and len(grids) == 1 and None not in grids else None


def _shuffle(join: ir.Node) -> ir.Node | None:
    """The Reshape at the other end of the channel shuffle that `join` ends."""
    found = shuffle_that_ends(join)
    if found is None or len(set(map(grid_of, found.fronts))) > 1:
        return None
    before, apart, after = (ir.sizes_of(_sized(value), _CHANNELS) for value in found.stages)  # not that of the batch
    if before is None or apart is None or before != after or len(apart) != len(before) + 1 or len(before) < 2:
        return None
    swapped = found.perm == (0, 2, 1, *range(3, len(apart) + 1))
    return found.split if swapped and before == (apart[0] * apart[1], *apart[2:]) else None


def _sized(value: ir.Value | None) -> ir.Value | None:
    """Sizes are known of what is rounded, not of what that is dequantized to."""
    quantize = quantizer_in_front(value)
    return value if quantize is None else quantize.inputs[0]


def _count(value: ir.Value | None) -> int | None:
    dims = ir.dims_of(_sized(value))
    count = dims[_CHANNELS] if dims is not None and len(dims) > _CHANNELS else None
    return count if isinstance(count, int) else None


def _is_channels(axis: int, value: ir.Value | None) -> bool:
    dims = ir.dims_of(_sized(value))
    return axis == _CHANNELS or (dims is not None and axis + len(dims) == _CHANNELS)


Places = AnyArray | None
"""Of each channel behind a node, its number among all those in front of it; None for a node that does more."""


def _joined(concat: ir.Node, _result: ir.Value) -> Places:
    count = _count(concat.outputs[0])
    return np.arange(count) if count is not None and _is_channels(ir.attribute(concat, "axis", 0), concat.outputs[0]) else None


def _part(split: ir.Node, result: ir.Value) -> Places:
    counts = [_count(value) for value in split.outputs]
    known = [count for count in counts if count is not None]
    if not _is_channels(ir.attribute(split, "axis", 0), split.inputs[0]) or len(known) < len(counts):
        return None
    index = split.outputs.index(result)
    return np.arange(known[index]) + sum(known[:index])


def _cut(cut: ir.Node, _result: ir.Value) -> Places:
    count = _count(cut.inputs[0])
    bounds = [ir.constant_of(value) for value in cut.inputs[1:]]
    if count is None or len(bounds) < 3 or any(bound is None or bound.size != 1 for bound in bounds):
        return None
    start, end, axis, *step = [int(bound.item()) for bound in bounds if bound is not None]
    return np.arange(count)[start : end : step[0] if step else 1] if _is_channels(axis, cut.inputs[0]) else None


def _shuffled(join: ir.Node, _result: ir.Value) -> Places:
    parts = _shuffle(join)
    sizes = ir.sizes_of(_sized(parts.outputs[0]), _CHANNELS) if parts is not None else None
    if sizes is None:
        return None
    groups, each = sizes[:2]
    return np.arange(groups * each).reshape(groups, each).T.reshape(-1)


_MOVES: Mapping[str, Callable[[ir.Node, ir.Value], Places]] = {
    "Concat": _joined, "Split": _part, "Slice": _cut, "Reshape": _shuffled,
}  # fmt: skip
