"""Which tensors between the layers are to be integers, and which of them must have one scale."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import inf

from amct_lite import ir
from amct_lite.flow.kernels import KERNELS, has_number, integers_only, joins_channels
from amct_lite.ops import WEIGHTED, bodies_behind, weights_behind
from amct_lite.ops.pool import dilated
from amct_lite.passes.bound_parts import BOUNDS
from amct_lite.passes.readers import SIZES
from amct_lite.passes.take_apart import line_of
from amct_lite.types import Gate

Bounds = tuple[float, float]


@dataclass(frozen=True)
class Placement:
    """reads: (node name, input index) of every tensor that a node other than a layer is to read as integers, in the order
    of the graph. grids: for each tensor that must have the scale of others, all of them, sorted by name. bounds: what a Relu,
    Clip or HardSigmoid keeps a tensor within: it vanishes among codes whose range does not go beyond; tensors of one grid have
    the same. gates: the HardSigmoids among them that multiply what they are computed of."""

    reads: tuple[tuple[str, int], ...]
    grids: Mapping[str, tuple[str, ...]]
    bounds: Mapping[str, Bounds]
    gates: Mapping[str, Gate]


def place(
    model: ir.Model,
    layers: Mapping[str, tuple[int, ...]],
    *,
    left_out: Collection[str] = (),
    without: Collection[str] = (),
) -> Placement:
    """Where integers flow in `model` (prepared).

    layers: the quantized layers by node name, with the indices of their data inputs. left_out: names of tensors that must
    stay float. without: names of nodes that must not take part.
    """
    flow = _Flow(model, layers, frozenset(left_out), frozenset(without))
    groups = flow.groups()
    grids = {str(v.name): tuple(sorted(str(v.name) for v in group)) for group in groups if len(group) > 1 for v in group}
    bounds = {str(v.name): flow.bounds(group) for group in groups for v in group}
    limited = {name: b for name, b in bounds.items() if b != (-inf, inf)}
    gates = {name: gate for name, gate in flow.gates() if name not in grids and gate.source not in grids}
    return Placement(flow.reads(), grids, limited, gates)


class _Flow:
    """The nodes between the layers that take and give integers.

    Those that compute (and Concat) need integers on every input and somebody who wants theirs. Those that only move values do
    so wherever a kernel in front wrote nothing but integers, or where all readers want integers in the end; then the values
    are rounded before they are moved. What computes with a constant number follows only such a kernel: behind others, which
    write floats, there would be one rounding more.
    """

    def __init__(
        self, model: ir.Model, layers: Mapping[str, tuple[int, ...]], left_out: frozenset[str], without: frozenset[str]
    ) -> None:
        self._nodes = tuple(model.graph)
        self._layers = layers
        self._left_out = left_out
        self._without = without
        candidates = [node for node in self._nodes if self._may_be_between(node)]
        self._movers = {node for node in candidates if KERNELS[node.op_type].one_grid and len(_data(node)) == 1}
        self._computing = set(candidates) - self._movers
        self._between: set[ir.Node] = set()
        while self._update():
            pass
        self._mixing = self._of_many_grids()

    def _update(self) -> bool:
        """One round towards the largest set of computing nodes that hold each other up; whether any fell."""
        fed, only = self._fed(lambda layer: True), self._fed(integers_only)
        leads, all_lead = self._leading(any), self._leading(all)
        self._between = self._computing | (self._movers & (only | all_lead))
        kept = {
            node
            for node in self._computing
            if all(self._kernel_behind(value) in (only if has_number(node) else fed) for value in _data(node))
            and any(self._wanted(use, leads) for use in ir.uses(self._behind(node.outputs[0])))
        }
        fell = len(kept) < len(self._computing)
        self._computing = kept
        return fell

    def _fed(self, counts: Callable[[ir.Node], bool]) -> set[ir.Node]:
        """The layers that count, the computing nodes, and the movers behind them."""
        found: set[ir.Node] = set()
        for node in self._nodes:
            if node.name in self._layers:
                counted = counts(node)
            elif node in self._movers:
                counted = self._kernel_behind(_data(node)[0]) in found
            else:
                counted = node in self._computing
            if counted:
                found.add(node)
        return found

    def _leading(self, quantifier: Callable[[Iterable[bool]], bool]) -> set[ir.Node]:
        """The movers of whose readers any, or all, want integers in the end."""
        found: set[ir.Node] = set()
        for node in reversed(self._nodes):
            if node in self._movers:
                results = [self._behind(value) for value in node.outputs]
                uses = [use for result in results for use in ir.uses(result)]
                private = quantifier is any or not any(result.is_graph_output() for result in results)
                if uses and private and quantifier(self._wanted(use, found) for use in uses):
                    found.add(node)
        return found

    def _wanted(self, use: ir.Usage, movers: Collection[ir.Node]) -> bool:
        if use.idx in self._layers.get(str(use.node.name), ()):
            return True
        return (use.node in self._computing or use.node in movers) and use.idx in _data_indices(use.node)

    def _of_many_grids(self) -> set[ir.Node]:
        """The Concats of channels that, in the end, only BatchNormalizations read: these take a scale for each channel into
        their own numbers, so what goes in keeps its scale, and what comes out is not rounded once more."""
        norms = {node for node in self._computing if node.op_type == "BatchNormalization"}
        found: set[ir.Node] = set()
        for node in reversed(self._nodes):
            inside = node in self._computing and joins_channels(node) and not node.outputs[0].is_graph_output()
            if inside and {use.node for use in ir.uses(node.outputs[0])} <= norms | found:
                found.add(node)
        return found

    def reads(self) -> tuple[tuple[str, int], ...]:
        found: list[tuple[str, int]] = []
        for node in self._nodes:
            for index, value in enumerate(node.inputs):
                if value is not None and self._reads_integers(node, index, value):
                    found.append((str(node.name), index))
        return tuple(found)

    def groups(self) -> tuple[frozenset[ir.Value], ...]:
        """The tensors that are read as integers, those that must have one scale together."""
        groups: dict[ir.Value, set[ir.Value]] = {}
        for node in self._nodes:
            if node in self._between and KERNELS[node.op_type].one_grid and node not in self._mixing:
                joined = {v for value in (*_data(node), *node.outputs) for v in groups.get(value, {value})}
                groups.update(dict.fromkeys(joined, joined))
        read = dict.fromkeys(value for node in self._nodes for value in self._integers_into(node))
        return tuple(dict.fromkeys(frozenset(groups.get(value, {value}) & read.keys()) for value in read))

    def bounds(self, group: frozenset[ir.Value]) -> Bounds:
        """What all of `group` together are kept within, by whoever computes them."""
        found = [bounds_of(value) for value in group if not self._is_moved(value)]
        return min((low for low, _ in found), default=-inf), max((high for _, high in found), default=inf)

    def gates(self) -> Iterator[tuple[str, Gate]]:
        """The result of each HardSigmoid that a product of integers takes together with what it is computed of."""
        for node in self._between:
            for value in node.inputs if node.op_type == "Mul" else ():
                maker = ir.producer_of(value)
                source = maker.inputs[0] if maker in self._between and maker.op_type == "HardSigmoid" else None
                if maker is not None and source is not None and source in node.inputs:
                    alpha, beta = line_of(maker)
                    yield str(maker.outputs[0].name), Gate(str(source.name), alpha, beta / alpha)

    def _is_moved(self, value: ir.Value) -> bool:
        producer = value.producer()
        return producer in self._between and KERNELS[producer.op_type].one_grid if producer is not None else False

    def _may_be_between(self, node: ir.Node) -> bool:
        kernel = KERNELS.get(node.op_type)
        data = _data(node) if kernel else ()
        results = [self._behind(value) for value in node.outputs]
        return (
            kernel is not None
            and not node.domain
            and node.name not in self._layers
            and node.name not in self._without
            and kernel.taken(node)
            and all(ir.constant_of(value) is None and _is_float(value) for value in data)
            and not any(value.name in self._left_out for value in (*data, *results))
            and not any(self._reaches_floats(reader) for reader in (node, *(u.node for r in results for u in ir.uses(r))))
        )

    def _integers_only(self, producer: ir.Node | None) -> bool:
        """Whether its integer kernel cannot write float."""
        if producer is None:
            return False
        return producer in self._between or (producer.name in self._layers and integers_only(producer))

    def _kernel_behind(self, value: ir.Value) -> ir.Node | None:
        """The node that computes `value`, seen through a Relu or Clip that vanishes."""
        producer = value.producer()
        while producer is not None and producer.op_type in BOUNDS and self._vanishes(producer):
            assert producer.inputs[0] is not None
            producer = producer.inputs[0].producer()
        return producer

    def _vanishes(self, node: ir.Node) -> bool:
        source = node.inputs[0]
        producer = ir.producer_of(source)
        if source is None or producer is None or source.is_graph_output() or len(ir.uses(source)) != 1:
            return False
        moved = producer.op_type in KERNELS and KERNELS[producer.op_type].one_grid
        return not moved and all(ir.constant_of(bound) is not None for bound in node.inputs[1:] if bound is not None)

    def _behind(self, value: ir.Value) -> ir.Value:
        """The tensor that is rounded: `value`, or what a vanishing Relu or Clip makes of it."""
        uses = ir.uses(value)
        while len(uses) == 1 and uses[0].idx == 0 and uses[0].node.op_type in BOUNDS and self._vanishes(uses[0].node):
            value = uses[0].node.outputs[0]
            uses = ir.uses(value)
        return value

    def _must_round(self, value: ir.Value) -> bool:
        """Whether the kernel that computes `value` writes integers only."""
        producer = self._kernel_behind(value)
        if producer is None or all(self._behind(result) is not value for result in producer.outputs):
            return False
        return self._integers_only(producer) and value.name not in self._left_out

    def _reads_integers(self, node: ir.Node, index: int, value: ir.Value) -> bool:
        if node in self._between:
            return index in _data_indices(node) and value.producer() not in self._mixing
        if node.name in self._layers or not _is_float(value) or not self._must_round(value):
            return False
        if node.op_type in WEIGHTED | SIZES or dilated(node):
            return False
        return not self._reaches_floats(node) and node.name not in self._without

    def _reaches_floats(self, reader: ir.Node) -> bool:
        """Whether a rounded tensor, read by `reader`, reaches a layer in float, whose weights would be quantized unasked, or
        the body of an If or Loop."""
        return any(layer not in self._layers for layer in weights_behind(reader)) or any(bodies_behind(reader))

    def _integers_into(self, node: ir.Node) -> Iterator[ir.Value]:
        for index, value in enumerate(node.inputs):
            if value is not None and (
                index in self._layers.get(str(node.name), ()) or self._reads_integers(node, index, value)
            ):
                yield value


def _data_indices(node: ir.Node) -> tuple[int, ...]:
    return KERNELS[node.op_type].indices(node)


def _data(node: ir.Node) -> tuple[ir.Value, ...]:
    return tuple(value for index in _data_indices(node) if (value := node.inputs[index]) is not None)


def _is_float(value: ir.Value) -> bool:
    """A single number is no tensor of integers."""
    return value.dtype == ir.DataType.FLOAT and (value.shape is None or value.shape.rank() > 0)


def bounds_of(value: ir.Value) -> Bounds:
    """What the Relu, Clip or HardSigmoid that computes `value` keeps it within."""
    node = value.producer()
    if node is not None and node.op_type == "HardSigmoid" and not node.domain:
        return 0.0, 1.0
    if node is None or node.op_type not in BOUNDS or node.domain:
        return -inf, inf
    if node.op_type == "Relu":
        return 0.0, inf
    low, high = (ir.constant_of(node.inputs[i]) if i < len(node.inputs) else None for i in (1, 2))
    return -inf if low is None else low.item(), inf if high is None else high.item()
