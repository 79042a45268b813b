"""Convolutions read channels as they were computed: what moved the channels vanishes into their weights. No value changes.

ONNX Runtime runs convolutions channels last, where a channel shuffle moves single bytes. So who reads channels that were
shuffled reads them in the order of their sources, as whole runs. And a source may hold channels of zeros at its end, for the
sake of a depthwise convolution: who reads the others reads these, too, with weights of zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from amct_lite import ir
from amct_lite.exporters.pairs import quantizer_in_front, read_grid
from amct_lite.exporters.rewrites.convs import (
    add_outputs,
    change_outputs,
    change_weight,
    has_own_bias,
    is_dense,
    is_depthwise,
    join_groups,
    missing_channels,
    own_weight,
)
from amct_lite.exporters.rewrites.neighbours import kernel_in_front, rounded_by
from amct_lite.exporters.rewrites.routes import Channel, Routes
from amct_lite.ir.build import Inserter
from amct_lite.types import AnyArray


@dataclass(frozen=True)
class _Run:
    """Neighbouring channels of `source`, from `first` to the one in front of `end`."""

    source: ir.Value
    first: int
    end: int


def reroute(model: ir.Model) -> None:
    """In place. `model`: all of its pairs are written."""
    ir.remove_unused(model)  # what other rewrites left behind is no reader
    routes = Routes(model.graph)
    readers = {conv for codes in routes.shuffled() for conv in _absorbing(codes, routes)}
    wider: dict[ir.Value, tuple[ir.Node, int]] = {}
    for conv in model.graph:
        quantize = quantizer_in_front(conv.inputs[0]) if missing_channels(conv) else None
        front = _widening(quantize) if quantize is not None else None
        if quantize is not None and front is not None and (taken := _absorbing(quantize.outputs[0], routes)):
            readers |= taken
            wider[quantize.outputs[0]] = front, missing_channels(conv)
    for front, missing in wider.values():
        join_groups(front, ir.attribute(front, "group", 1))
        add_outputs(front, missing)
    writer = _Writer(routes, {codes: missing for codes, (_, missing) in wider.items()})
    for conv in model.graph:
        if conv in readers:
            writer.order(conv)
    writer.connect()


def _widening(quantize: ir.Node) -> ir.Node | None:
    """The convolution that computes what is rounded, if it can give more channels."""
    front = kernel_in_front(quantize)
    can = (
        front is not None
        and _sums_up(front)
        and not is_depthwise(front)
        and has_own_bias(front)
        and rounded_by(front) is quantize
    )
    return front if can else None


def _absorbing(codes: ir.Value, routes: Routes) -> set[ir.Node]:
    """The convolutions that read channels of `codes` in the end, with those behind the depthwise ones among them; empty if
    somebody else does, or one of them cannot take another order."""
    found: set[ir.Node] = set()
    waiting = [codes]
    while waiting:
        codes = waiting.pop()
        if codes.is_graph_output() or routes.of(codes) is None:
            return set()
        for use in routes.readers(codes):
            conv = use.node
            behind = _behind_depthwise(conv)
            if use.idx != 0 or conv.graph is not codes.graph or not (behind or _sums_up(conv)):
                return set()
            if behind is not None and conv not in found:
                waiting.append(behind.outputs[0])
            found.add(conv)
    return found


def _behind_depthwise(conv: ir.Node) -> ir.Node | None:
    """The QuantizeLinear behind `conv`, if that is a depthwise convolution which can give its channels in another order."""
    return rounded_by(conv) if is_depthwise(conv) and has_own_bias(conv) else None


def _sums_up(conv: ir.Node) -> bool:
    """Whether `conv` reads all channels, or can: groups of a 1×1 one take as long as a single one."""
    weight = own_weight(conv) if conv.op_type == "Conv" else None
    return weight is not None and (is_dense(conv) or set(weight.shape[2:]) == {1})


class _Writer:
    """Gives the convolutions other orders of channels, and hands them what they then read.

    layouts: of each source that is not as its routes tell, the number that each of its channels has there, -1 for zeros.
    """

    def __init__(self, routes: Routes, wider: Mapping[ir.Value, int]) -> None:
        self._routes = routes
        self._layouts = {source: [*range(len(routes.of(source) or ())), *[-1] * count] for source, count in wider.items()}
        self._runs: dict[ir.Node, list[_Run]] = {}

    def order(self, conv: ir.Node) -> None:
        """Called in the order of the graph."""
        front = quantizer_in_front(conv.inputs[0])
        channels = self._routes.of(front.outputs[0]) if front is not None else None
        assert channels is not None, "readers are found along their routes"
        placed = self._placed(channels)
        places = [place for _, place in placed]
        self._runs[conv] = _runs(channel for channel, _ in placed)
        behind = _behind_depthwise(conv)
        if behind is None:
            _order_inputs(conv, places)
            return
        self._layouts[behind.outputs[0]] = places
        change_outputs(conv, lambda array: _taken(array, places))
        ir.set_attribute(conv, "group", len(places))

    def _placed(self, channels: Sequence[Channel]) -> list[tuple[Channel, int]]:
        """`channels` in the order of their sources, each with its place in front, -1 for the zeros that come along."""
        wanted: dict[ir.Value, dict[int, list[int]]] = {}
        for place, (source, index) in enumerate(channels):
            wanted.setdefault(source, {}).setdefault(index, []).append(place)
        found: list[tuple[Channel, int]] = []
        for source, places in wanted.items():
            follows = False
            for position, index in enumerate(self._layout(source)):
                follows = index in places or (index < 0 and follows)
                if follows:
                    found += [((source, position), place) for place in places.get(index, [-1])]
        return found

    def _layout(self, source: ir.Value) -> Sequence[int]:
        return self._layouts.get(source, range(len(self._routes.of(source) or ())))

    def connect(self) -> None:
        """Let the convolutions read what their runs say: a source is split once, and joined once for all who read the same."""
        cuts: dict[ir.Value, set[int]] = {}
        for run in (run for runs in self._runs.values() for run in runs):
            cuts.setdefault(run.source, {0, len(self._layout(run.source))}).update((run.first, run.end))
        pieces = {source: _pieces(source, sorted(places)) for source, places in cuts.items()}
        joined: dict[tuple[ir.Value, ...], ir.Value] = {}
        for conv, runs in self._runs.items():
            parts = tuple(
                pieces[run.source][cut] for run in runs for cut in sorted(pieces[run.source]) if run.first <= cut < run.end
            )
            front, grid = quantizer_in_front(conv.inputs[0]), read_grid(conv.inputs[0])
            assert front is not None
            b = Inserter(conv, f"{conv.name}.ordered")
            if parts not in joined:
                joined[parts] = parts[0] if len(parts) == 1 else b.op("Concat", *parts, axis=1)
            if joined[parts] is not front.outputs[0]:
                ir.replace_input(conv, 0, b.op("DequantizeLinear", joined[parts], *grid))


def _order_inputs(conv: ir.Node, places: Sequence[int]) -> None:
    join_groups(conv, ir.attribute(conv, "group", 1))
    change_weight(conv, lambda array: np.moveaxis(_taken(np.moveaxis(array, 1, 0), places), 0, 1))


def _taken(array: AnyArray, places: Sequence[int]) -> AnyArray:
    """`array` in that order: integers are zero at -1, scales any. A single number stands for all."""
    if array.size == 1:
        return array
    taken: AnyArray = array[list(places)]
    if taken.dtype.kind != "f":
        taken[np.array(places) < 0] = 0
    return taken


def _runs(channels: Iterable[Channel]) -> list[_Run]:
    found: list[_Run] = []
    for source, index in channels:
        if found and found[-1].source is source and found[-1].end == index:
            found[-1] = _Run(source, found[-1].first, index + 1)
        else:
            found.append(_Run(source, index, index + 1))
    return found


def _pieces(source: ir.Value, cuts: list[int]) -> dict[int, ir.Value]:
    """First channel → codes of what lies between neighbouring cuts."""
    quantize = source.producer()
    assert quantize is not None
    if len(cuts) == 2:
        return {0: source}
    sizes = Inserter.behind(quantize, str(quantize.name)).constant(np.diff(cuts), np.int64)
    split = ir.new_node("Split", [source, sizes], name=f"{quantize.name}.runs", attributes={"axis": 1}, outputs=len(cuts) - 1)
    ir.insert_after(quantize, split)
    return dict(zip(cuts, split.outputs, strict=False))
