"""The graph as a column of nodes with lanes beside them, as version histories are drawn: it holds any model, and reads like
one from top to bottom."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from amct_lite import ir
from amct_lite.page.values import Step


@dataclass(frozen=True)
class _Stop:
    """A node, or an input or output of the network: what it reads and what it makes."""

    name: str
    op_type: str
    state: str
    reads: tuple[ir.Value, ...] = ()
    makes: tuple[ir.Value, ...] = ()


@dataclass
class _Lanes:
    """Which value runs in which lane at the moment; a lane is free when its value has been read for the last time."""

    values: list[ir.Value | None] = field(default_factory=list)

    def of(self, value: ir.Value) -> int:
        return self.values.index(value)

    def taken(self) -> tuple[int, ...]:
        return tuple(lane for lane, value in enumerate(self.values) if value is not None)

    def take(self, value: ir.Value | None, wanted: int | None = None) -> int:
        """A free lane, the wanted one where it is free."""
        free = [lane for lane, held in enumerate(self.values) if held is None]
        if not free:
            free = [len(self.values)]
            self.values.append(None)
        lane = wanted if wanted in free else free[0]
        self.values[lane] = value
        return lane


def steps_of(model: ir.Model, quantized: Collection[str], in_float: Collection[str]) -> tuple[Step, ...]:
    """Every node of the main graph in its order. quantized, in_float: names of nodes. Constants are not drawn, and what bodies
    of If and Loop read from outside has no line."""
    stops = _stops(model, quantized, in_float)
    last = {value: position for position, stop in enumerate(stops) for value in stop.reads}
    lanes, steps = _Lanes(), []
    for position, stop in enumerate(stops):
        into = tuple(dict.fromkeys(lanes.of(value) for value in stop.reads))
        ending = [value for value in dict.fromkeys(stop.reads) if last[value] == position]
        for value in ending:
            lanes.values[lanes.of(value)] = None
        passing = lanes.taken()
        lane = _own_lane(lanes, into)
        out = tuple(lanes.take(value, lane) for value in stop.makes if value in last)
        steps.append(Step(stop.name, stop.op_type, stop.state, lane, passing, into, out))
    return tuple(steps)


def _own_lane(lanes: _Lanes, into: Sequence[int]) -> int:
    """Where a node stands: in the lane of the first value that ends in it, else in a free one."""
    ended = [lane for lane in into if lanes.values[lane] is None]
    if ended:
        return ended[0]
    return lanes.take(None)


def _stops(model: ir.Model, quantized: Collection[str], in_float: Collection[str]) -> list[_Stop]:
    graph = model.graph
    known: set[ir.Value] = {value for value in graph.inputs if value.const_value is None}
    stops = [_Stop(str(value.name), "input", "edge", makes=(value,)) for value in graph.inputs if value in known]
    for node in graph:
        name = str(node.name)
        state = "quantized" if name in quantized else "float" if name in in_float else ""
        reads = tuple(value for value in node.inputs if value is not None and value in known)
        stops.append(_Stop(name, node.op_type, state, reads, tuple(node.outputs)))
        known.update(node.outputs)
    outputs = dict.fromkeys(value for value in graph.outputs if value in known)
    return [*stops, *(_Stop(str(value.name), "output", "edge", reads=(value,)) for value in outputs)]
