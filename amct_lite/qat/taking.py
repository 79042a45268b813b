"""Which layers of a QDQ model keep their scales, as a record, and why the others do not.

A layer is taken when its data and its weight are quantized as the NPU computes: data with one scale (uint8 codes move down by
128), the weight with a scale a channel or a single one and no zero point. The grid of a layer's data is that of the DQ in
front of it, also across operators that do not leave the grid.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from amct_lite import ir
from amct_lite.ops import Layer, bind
from amct_lite.qat.constants import Coded, Reader
from amct_lite.qat.grid import Grid, grid_of, is_dq, is_q
from amct_lite.qat.limits import Limit, bounds_of, is_limit
from amct_lite.qat.movers import is_mover, keeps_grid
from amct_lite.qat.weights import weight_params
from amct_lite.record import UNIT_DATA, UNIT_WEIGHT, RecurrentRecord, mistake, obstacle
from amct_lite.record.check import LayerFacts, rows_problem
from amct_lite.types import LayerRecord, QParams, QuantRecord, Skip

Between = Callable[[Collection[str]], Iterable[Reader]]


@dataclass(frozen=True)
class Reading:
    """What an input of a node reads. path: who reads the DQ, and every input from there on to this one's node."""

    grid: Grid
    path: tuple[Reader, ...] = ()


@dataclass(frozen=True)
class Quantizer:
    """A Q of data. readers: of its DQ. output: the name of the model's output that its numbers are, or empty. limits: whether
    the Q limits them."""

    name: str
    grid: Grid
    readers: tuple[Reader, ...]
    output: str
    limits: bool


@dataclass(frozen=True)
class Trained:
    """What a QDQ model said before its Q and DQ were taken out. reference: the model as it was, to compare with."""

    reference: ir.Model
    constants: Mapping[Reader, Coded]
    readings: Mapping[Reader, Reading]
    quantizers: tuple[Quantizer, ...]


@dataclass(frozen=True)
class Taken:
    """notes: a sentence for layers of which there is something to say."""

    record: QuantRecord
    skips: tuple[Skip, ...]
    notes: Mapping[str, str]


def trained_of(reference: ir.Model, prepared: ir.Model, constants: Mapping[Reader, Coded]) -> Trained:
    """Read `prepared`, which still has its Q and DQ. constants: what its layers read as weights and biases."""
    known: dict[ir.Value, Reading | None] = {}
    readings: dict[Reader, Reading] = {}
    quantizers: list[Quantizer] = []
    for node in prepared.graph:
        for index, value in enumerate(node.inputs):
            reading = _reading(value, known) if value is not None else None
            if reading is not None:
                readings[str(node.name), index] = Reading(reading.grid, (*reading.path, (str(node.name), index)))
        q = ir.producer_of(node.inputs[0]) if is_dq(node) else None
        if q is not None:
            values, grid = node.outputs[0], grid_of(q)
            readers = tuple((str(usage.node.name), usage.idx) for usage in ir.uses(values))
            output = str(values.name) if values.is_graph_output() else ""
            quantizers.append(Quantizer(str(q.name), grid, readers, output, is_limit(q.inputs[0], grid)))
    return Trained(reference, constants, readings, tuple(quantizers))


def take(model: ir.Model, trained: Trained, facts: Mapping[str, LayerFacts], between: Between = lambda _layers: ()) -> Taken:
    """The record of `model`, the float model of `trained`. facts: what the target takes. between: names of the quantized
    layers → who else is to read integers, beside each Add."""
    layers: list[LayerRecord] = []
    skips: list[Skip] = []
    notes: dict[str, str] = {}
    for node in model.graph:
        bound = bind(node)
        if bound is None:
            continue
        name = str(node.name)
        found = _layer(bound, trained, facts[name]) if isinstance(bound, Layer) else bound
        if isinstance(found, str):
            skips.append(Skip(name, node.op_type, found))
            continue
        record, note = found
        layers.append(record)
        if note:
            notes[name] = note
    quantized = {layer.key for layer in layers}
    tables = {layer.key: why for layer in layers if (why := rows_problem(facts[layer.key], quantized))}
    skips += [Skip(name, facts[name].op_type, why) for name, why in tables.items()]
    layers = [layer for layer in layers if layer.key not in tables]
    wanted = set(between([layer.key for layer in layers]))
    for node in model.graph:
        readers = [(str(node.name), index) for index in range(len(node.inputs))]
        added = node.op_type == "Add" and not node.domain
        layers += _reads([one for one in readers if added or one in wanted], trained, facts[str(node.name)], quantized)
    whole = QuantRecord(tuple(layers))
    return Taken(whole, (*skips, *_left_out(model, trained, whole)), notes)


def limits_of(model: ir.Model, trained: Trained, record: QuantRecord) -> tuple[Limit, ...]:
    """What has to be limited where `record` says what is quantized of `model`: all that a Q limited and that is not."""
    unread = _unread(model, trained, record)
    return tuple(
        Limit(q.name, *bounds_of(q.grid), unread[q.name], q.output)
        for q in trained.quantizers
        if q.limits and (unread[q.name] or q.output)
    )


def _reading(value: ir.Value, known: dict[ir.Value, Reading | None]) -> Reading | None:
    """The grid that `value` lies on, None when it lies on none."""
    if value not in known:
        known[value] = None
        known[value] = _made_by(value.producer(), value, known)
    return known[value]


def _made_by(node: ir.Node | None, value: ir.Value, known: dict[ir.Value, Reading | None]) -> Reading | None:
    if node is None or node.domain:
        return None
    if is_dq(node):
        q = ir.producer_of(node.inputs[0])
        return Reading(grid_of(q)) if q is not None and is_q(q) else None
    if node.op_type == "Concat":
        parts = [_reading(source, known) if source is not None else None for source in node.inputs]
        first = parts[0]
        if first is None or any(part is None or part.grid != first.grid for part in parts):
            return None
        steps = [(*part.path, (str(node.name), index)) for index, part in enumerate(parts) if part is not None]
        return Reading(first.grid, tuple(step for path in steps for step in path))
    keeps = is_mover(node) or keeps_grid(node, value)
    inner = _reading(node.inputs[0], known) if node.inputs and node.inputs[0] is not None else None
    if inner is None or not (keeps or (node.op_type == "Clip" and _clips_on(inner.grid, node))):
        return None
    return Reading(inner.grid, (*inner.path, (str(node.name), 0)))


def _clips_on(grid: Grid, node: ir.Node) -> bool:
    """Whether the bounds of a Clip lie on the grid (but for float32's rounding) or outside of its range."""
    if grid.refusal:
        return False
    params = grid.params
    for bound in node.inputs[1:3]:
        array = ir.constant_of(bound)
        if bound is None:
            continue
        if array is None:
            return False
        number = float(array.reshape(-1)[0])
        step = number / params.scale[0] + params.zero_point[0]
        half = 1 << (params.bits - 1)
        if -half < step < half - 1 and abs(step - round(step)) > 1e-6 * max(abs(step), 1.0):
            return False
    return True


def _layer(layer: Layer, trained: Trained, facts: LayerFacts) -> tuple[LayerRecord, str] | str:
    """The entry of a layer and a note on it, or why there is none."""
    if not facts.quantizable:
        return facts.reason
    data: list[QParams] = []
    for index in layer.data:
        reading = trained.readings.get((layer.name, index))
        if reading is None:
            return "the model does not quantize its data"
        if reading.grid.refusal:
            return reading.grid.refusal
        data.append(reading.grid.params)
    if facts.symmetric and any(params.zero_point != (0,) for params in data):
        return f"its data have zero point {data[0].zero_point[0]} (int{data[0].bits}), which must be 0, {facts.symmetric}"
    first, *others = data or [UNIT_DATA]
    if reason := facts.width_problem(first.bits, others[0].bits if others else 8):
        return reason
    if others:
        if any(params.zero_point != (0,) for params in data):
            return "both its factors are data, which the NPU takes with zero point 0 only"
        return LayerRecord(layer.name, first, others[0]), ""
    if layer.weight is None:
        return LayerRecord(layer.name, first, UNIT_WEIGHT), ""
    weight = weight_params(layer, layer.weight_array, trained.constants.get((layer.name, layer.weight)), first)
    if isinstance(weight, str):
        return weight
    entry = LayerRecord(layer.name, first, weight[0], has_data=bool(data))
    if layer.recurrence is None:
        return entry, weight[1]
    coded = trained.constants.get((layer.name, layer.recurrence))
    recurrence = weight_params(layer, layer.recurrence_array, coded, first)
    if isinstance(recurrence, str):
        return f"of the hidden state, {recurrence}"
    return RecurrentRecord(**vars(entry), recurrence=recurrence[0]), weight[1]


def _reads(
    readers: Iterable[Reader], trained: Trained, facts: LayerFacts, quantized: AbstractSet[str]
) -> Iterator[LayerRecord]:
    """Entries for these inputs of a node, as far as they are quantized and can be."""
    for name, index in readers:
        reading = trained.readings.get((name, index))
        if reading is None or reading.grid.refusal:
            continue
        if not (mistake(facts.reads, index, quantized) or obstacle(facts.reads, quantized)):
            yield LayerRecord(f"{name}:{index}", reading.grid.params, None, tensor_quantize=True)


def _unread(model: ir.Model, trained: Trained, record: QuantRecord) -> dict[str, tuple[Reader, ...]]:
    """Q → the readers of its DQ of which not all that comes of it is rounded by an entry of `record`."""
    nodes = {str(node.name): node for node in model.graph}
    passed = {step for reading in trained.readings.values() for step in reading.path[:-1]}
    known: dict[Reader, bool] = {}

    def rounds(reader: Reader) -> bool:
        name, index = reader
        if name in record.by_key or f"{name}:{index}" in record.by_key:
            return reader in trained.readings
        if reader not in known:
            node = nodes.get(name)
            outputs = node.outputs if node is not None and reader in passed else ()
            ends = any(output.is_graph_output() for output in outputs)
            further = [(str(usage.node.name), usage.idx) for output in outputs for usage in ir.uses(output)]
            known[reader] = bool(further) and not ends and all(rounds(step) for step in further)
        return known[reader]

    return {q.name: tuple(reader for reader in q.readers if not rounds(reader)) for q in trained.quantizers}


def _left_out(model: ir.Model, trained: Trained, record: QuantRecord) -> list[Skip]:
    """A Skip for each Q whose rounding somebody does not see any more."""
    types = {str(node.name): node.op_type for node in model.graph}
    unread = _unread(model, trained, record)
    skips = []
    for quantizer in trained.quantizers:
        who = [f"{types.get(name, 'node')} {name!r}" for name in dict.fromkeys(name for name, _ in unread[quantizer.name])]
        who += [f"the output {quantizer.output!r}"] if quantizer.output else []
        if who:
            readers = ", ".join(who[:3]) + (f" and {len(who) - 3} more" if len(who) > 3 else "")
            verb = "reads" if len(who) == 1 else "read"
            what = "limited, but not rounded, now" if quantizer.limits else "not rounded now"
            skips.append(Skip(quantizer.name, "QuantizeLinear", f"left out: {readers} {verb} values that are {what}"))
    return skips
