"""A Q rounds, and it limits: what lies outside of its range comes out as the bound. Where the rounding goes, the limits stay.

They carry meaning. Trained ranges saturate on purpose, and onnxruntime.quantization takes a Relu or Clip away where the range
of the Q behind it does the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from amct_lite import ir
from amct_lite.passes.readers import SIZES
from amct_lite.qat.constants import Reader
from amct_lite.qat.grid import Grid, grid_of, is_dq, is_q
from amct_lite.qat.movers import is_mover

_BOUNDED = {"Relu": (0.0, np.inf), "Sigmoid": (0.0, 1.0), "Softmax": (0.0, 1.0), "Tanh": (-1.0, 1.0)}
_KEEPS_BOUNDS = frozenset({"MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"})


@dataclass(frozen=True)
class Limit:
    """low, high: what a grid of one scale reaches. readers: who is to read limited values. output: of the model, or empty."""

    name: str
    low: float
    high: float
    readers: tuple[Reader, ...]
    output: str


def bounds_of(grid: Grid) -> tuple[float, float]:
    """The numbers of the least and the largest code of a grid with one scale."""
    least, most = grid.limits
    scale, zero_point = np.float32(grid.scale[0]), grid.zero_point[0]
    return float(np.float32(least - zero_point) * scale), float(np.float32(most - zero_point) * scale)


def is_limit(value: ir.Value | None, grid: Grid) -> bool:
    """Whether `value` may lie outside of the grid, as far as its makers tell, by more than a step."""
    if grid.axis is not None:
        return False
    low, high = bounds_of(grid)
    least, most = _range(value)
    return least < low - grid.scale[0] or most > high + grid.scale[0]


def input_bounds(model: ir.Model) -> dict[str, tuple[float, float]]:
    """Input of `model` (joined) → the numbers that a Q right behind it can tell apart."""
    found: dict[str, tuple[float, float]] = {}
    for value in model.graph.inputs:
        grids = [grid_of(usage.node) for usage in ir.uses(value) if is_q(usage.node) and usage.idx == 0]
        if grids and grids[0].axis is None:
            found[str(value.name)] = bounds_of(grids[0])
    return found


def limit(model: ir.Model, limits: Iterable[Limit]) -> None:
    """Edit `model`: a Clip in front of the readers of each limit."""
    nodes = {str(node.name): node for node in (*model.graph.all_nodes(), *model.graph)}  # bodies of If and Loop read, too
    for item in limits:
        readers = [(nodes[name], index) for name, index in item.readers if name in nodes and nodes[name].op_type not in SIZES]
        output = next((value for value in model.graph.outputs if str(value.name) == item.output), None)
        source = output if output is not None or not readers else readers[0][0].inputs[readers[0][1]]
        if source is None:
            continue
        clipped = _clip(source, item)
        for node, index in readers:
            ir.replace_input(node, index, clipped)
        if output is not None:
            others = [(usage.node, usage.idx) for usage in ir.uses(output)]
            ir.redirect(output, clipped)
            for node, index in others:
                ir.replace_input(node, index, output)
    model.graph.sort()  # an output that is another tensor under a name of its own may be made behind who reads it


def restore_activations(model: ir.Model) -> int:
    """Edit `model` (joined): behind each DQ whose Q does what a Relu or Clip does, put that Clip; returns how many."""
    count = 0
    for dq in tuple(model.graph):
        q = ir.producer_of(dq.inputs[0]) if is_dq(dq) else None
        if q is None:
            continue
        grid = grid_of(q)
        if grid.axis is not None or bounds_of(grid)[0] != 0 or _range(q.inputs[0])[0] >= 0:
            continue
        count += 1
        readers = tuple((str(usage.node.name), usage.idx) for usage in ir.uses(dq.outputs[0]))
        output = str(dq.outputs[0].name) if dq.outputs[0].is_graph_output() else ""
        limit(model, [Limit(str(q.name), *bounds_of(grid), readers, output)])
    return count


def _clip(source: ir.Value, item: Limit) -> ir.Value:
    """A Clip right behind the maker of `source`."""
    maker = source.producer()
    graph = maker.graph if maker is not None else source.graph
    assert isinstance(graph, ir.Graph)
    bounds = [ir.add_initializer(graph, f"{item.name}.limit", np.array(b, np.float32)) for b in (item.low, item.high)]
    node = ir.new_node("Clip", [source, *bounds], name=ir.unique_name(graph, f"{item.name}.limits"))
    if maker is not None:
        ir.insert_after(maker, node)
    else:
        ir.insert_before(next(iter(graph)), node)
    clipped = node.outputs[0]
    clipped.shape, clipped.type = source.shape, source.type
    return clipped


def _range(value: ir.Value | None) -> tuple[float, float]:
    """Bounds of `value` that its makers guarantee."""
    node = ir.producer_of(value)
    if node is None or node.domain:
        return -np.inf, np.inf
    if node.op_type in _BOUNDED:
        return _BOUNDED[node.op_type]
    if is_mover(node) or node.op_type in _KEEPS_BOUNDS:
        return _range(node.inputs[0])
    if node.op_type == "Clip":
        bounds = [ir.constant_of(bound) for bound in (*node.inputs[1:3], None, None)[:2]]
        low, high = (None if bound is None else float(bound.reshape(-1)[0]) for bound in bounds)
        least, most = _range(node.inputs[0])
        return max(least, -np.inf if low is None else low), min(most, np.inf if high is None else high)
    return -np.inf, np.inf
