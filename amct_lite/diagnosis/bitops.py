"""What a model costs: operations, parameters, bytes of weights and activations, as floats and as a record has it.

Counted is the prepared model, in which constants and BatchNormalization are folded, so names are those of the record.
What has no formula or no static shape is named, never estimated.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from math import prod
from pathlib import Path

from amct_lite import ir
from amct_lite.decide import HALF
from amct_lite.diagnosis.arithmetic import Arithmetic, Counted, count_work, float_constants, packed_bytes
from amct_lite.diagnosis.memory import Activations, Forms
from amct_lite.errors import StaticShapeError
from amct_lite.loading import SourceModel, load_prepared
from amct_lite.record import read_record, require_valid
from amct_lite.recorded import facts_for, fusion_beside, subject_of
from amct_lite.trained import limited, take_scales
from amct_lite.types import FUSE_ALL, QuantRecord, Skip, Subject
from amct_lite.validate.static_shape import open_inputs, settle_shapes


@dataclass(frozen=True)
class LayerCost:
    """One layer. output: its shape. bitops = flops · act_bits · weight_bits; parameters: of weight and bias.

    weight_bytes: both as stored, a quantized layer's bias as int32; activation_bytes: of its output as its readers want it.
    """

    name: str
    op_type: str
    output: tuple[int, ...]
    macs: int
    flops: int
    act_bits: int
    weight_bits: int
    bitops: int
    parameters: int
    weight_bytes: int
    activation_bytes: int


@dataclass(frozen=True)
class Total:
    """A whole model in one arithmetic. weight_bytes: its float constants, shared ones once, without the scales of a record.
    activation_bytes: all that is written; peak_activation_bytes: the most that is held at once, while `peak_at` runs."""

    bitops: int
    weight_bytes: int
    activation_bytes: int
    peak_activation_bytes: int
    peak_at: str


@dataclass(frozen=True)
class Cost:
    """totals: by arithmetic, `fp32`, `fp16` and, with a record, `record`. layers: in the last of them but fp16.

    parameters: elements of float constants, shared ones once. not_counted: nodes that the operations leave out;
    unknown_shapes: tensors that the activation bytes leave out, which then are lower bounds.
    """

    model: str
    input_shapes: Mapping[str, tuple[int, ...]]
    macs: int
    flops: int
    parameters: int
    totals: Mapping[str, Total]
    layers: tuple[LayerCost, ...]
    not_counted: tuple[Skip, ...] = field(default=())
    unknown_shapes: tuple[str, ...] = field(default=())
    subject: Subject | None = None

    @property
    def main(self) -> Total:
        """With the record's widths where there is one, else in float32."""
        return self.totals.get("record") or self.totals["fp32"]

    def to_json(self) -> str:
        """Indented JSON: `total` (of the record, else of float32), `totals`, `layers`, and what was left out."""
        content = {
            "model": self.model,
            "subject": asdict(self.subject) if self.subject else None,
            "input_shapes": dict(self.input_shapes),
            "total": {"macs": self.macs, "flops": self.flops, "parameters": self.parameters, **asdict(self.main)},
            "totals": {name: asdict(total) for name, total in self.totals.items()},
            "layers": [asdict(layer) for layer in self.layers],
            "not_counted": [asdict(skip) for skip in self.not_counted],
            "unknown_shapes": list(self.unknown_shapes),
        }
        return json.dumps(content, indent=1, ensure_ascii=False)


def bitops(
    model: str | Path | ir.Model,
    record: QuantRecord | str | Path | None = None,
    *,
    input_shapes: Mapping[str, tuple[int, ...]] | None = None,
) -> Cost:
    """Operations and bytes of a model, layer by layer and in total. Nothing is run.

    record: bits of its layers; of a model that brings its scales (QDQ), its own when left out. A layer that it does not name
    counts as 32 x 32, or as 16 x 16 where the model computes it in float16. What `op_data_type` of the record calls FLOAT16 is
    handed on in 16 bits where it is no integer. input_shapes: name → dimensions, for inputs that the model leaves open.
    Raises StaticShapeError for an input without a fixed shape, RecordError for a record of another model.
    """
    given = read_record(record) if isinstance(record, str | Path) else record
    source = load_prepared(model, fusion_beside(given, FUSE_ALL) if given is not None else FUSE_ALL, "take")
    if given is not None:
        require_valid(given, facts_for(given, source, "generic"))
    elif source.trained is not None:
        given = take_scales(source, source.trained, "generic").record
    source = limited(source, given) if given is not None else source
    shapes = input_shapes or {}
    measured = Measured.of(settled_model(source.prepared, shapes))
    whole = Measured.of(settled_model(load_prepared(model, qdq="take").prepared, shapes)) if source.taken_apart else measured
    main = Arithmetic.of(given, measured.model, 32, _halves(source, given)) if given else Arithmetic("fp32", Forms(32))
    floats = (Arithmetic("fp32", Forms(32)), Arithmetic("fp16", Forms(16)))
    totals = {arithmetic.name: total_of(whole, arithmetic) for arithmetic in floats}  # of the user's model, never of its parts
    if given:
        totals[main.name] = total_of(measured, main)
    layers = layer_costs(measured, main)
    return Cost(
        source.name,
        {str(value.name): ir.sizes_of(value) or () for value in measured.model.graph.inputs},
        sum(layer.macs for layer in layers),
        sum(layer.flops for layer in layers),
        sum(float_constants(measured.model).values()),
        totals,
        layers,
        measured.skips,
        tuple(str(value.name) for value in measured.activations.unknown),
        subject_of(source, given),
    )


def _halves(source: SourceModel, record: QuantRecord) -> dict[str, int]:
    """The nodes that hand on float16, as the model has it or the record says."""
    told = {entry.key for entry in record.layers if entry.data_type == HALF}
    return dict.fromkeys(source.half_nodes | told, 16)


@dataclass(frozen=True)
class Measured:
    """A model (shapes settled) with its layers that have operations, the nodes that these leave out, and its activations."""

    model: ir.Model
    counted: tuple[Counted, ...]
    skips: tuple[Skip, ...]
    activations: Activations

    @staticmethod
    def of(model: ir.Model) -> Measured:
        return Measured(model, *count_work(model), Activations(model))


def settled_model(model: ir.Model, shapes: Mapping[str, tuple[int, ...]]) -> ir.Model:
    ir.fix_input_shapes(ir.clone(model), shapes)  # tells names that are not inputs before it tells open dimensions
    problems, suggestion = open_inputs(model, shapes)
    if problems:
        raise StaticShapeError(
            f'the cost depends on the input shape: {"; ".join(problems)}. Pass --input-shape "{suggestion}" with the '
            f"sizes you want."
        )
    return settle_shapes(model, shapes)


def layer_costs(measured: Measured, arithmetic: Arithmetic) -> tuple[LayerCost, ...]:
    return tuple(_layer_cost(item, arithmetic, measured.activations) for item in measured.counted)


def _layer_cost(item: Counted, arithmetic: Arithmetic, activations: Activations) -> LayerCost:
    act_bits, weight_bits = arithmetic.bits(item)
    stored = [packed_bytes(size, arithmetic.stored_bits(item, bias)) for size, bias in item.constants.values()]
    return LayerCost(
        item.name,
        item.node.op_type,
        ir.sizes_of(item.output) or (),
        item.work.macs,
        item.flops,
        act_bits,
        weight_bits,
        item.flops * act_bits * weight_bits,
        sum(size for size, _ in item.constants.values()),
        sum(stored),
        activations.bytes_of(item.output, arithmetic.forms),
    )


def total_of(measured: Measured, arithmetic: Arithmetic) -> Total:
    operations = (item.flops * prod(arithmetic.bits(item)) for item in measured.counted)
    peak = measured.activations.peak(arithmetic.forms)
    return Total(
        sum(operations),
        _stored_bytes(measured, arithmetic),
        measured.activations.total(arithmetic.forms),
        peak.bytes,
        peak.node,
    )


def _stored_bytes(measured: Measured, arithmetic: Arithmetic) -> int:
    """Each float constant once for every width in which somebody reads it."""
    places = ((item, place, bias) for item in measured.counted for place, (_, bias) in item.constants.items())
    widths = {place: arithmetic.stored_bits(item, bias) for item, place, bias in places}
    return sum(
        packed_bytes(elements, bits)
        for value, elements in float_constants(measured.model).items()
        for bits in {widths.get(usage) or arithmetic.forms.float_of(usage.node) for usage in ir.uses(value)}
    )
