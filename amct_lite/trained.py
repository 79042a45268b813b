"""What `convert` takes from a model with QuantizeLinear and DequantizeLinear: its scales, or an error that says why none."""

from __future__ import annotations

from dataclasses import replace

from amct_lite import ir, qat
from amct_lite.decide import HALF
from amct_lite.errors import UnsupportedModelError
from amct_lite.flow.placement import place
from amct_lite.flow.reads import taking
from amct_lite.loading import SourceModel
from amct_lite.plan import ORT, layer_facts
from amct_lite.types import QuantRecord


def require_trained(source: SourceModel) -> qat.Trained:
    """What `source`, loaded with its scales kept, says of them. Raises UnsupportedModelError for a float model."""
    if source.trained is None:
        raise UnsupportedModelError(
            f"{source.name} is a float model: it holds no QuantizeLinear and DequantizeLinear to take scales from. "
            "Quantize it with `amct-lite calibrate`; or, if there is a record of its scales, with `amct-lite convert --record`."
        )
    return source.trained


def take_scales(source: SourceModel, trained: qat.Trained, target: str) -> qat.Taken:
    """The record of `source` for `target`. Raises UnsupportedModelError for a model of which no layer can be taken."""
    taken = qat.take(source.prepared, trained, layer_facts(target, source.prepared), _between(source.prepared, target))
    if not taken.record.layers:
        reasons = "; ".join(f"{skip.node} ({skip.op_type}): {skip.reason}" for skip in taken.skips[:5])
        reasons = reasons or "it holds none of the layers that are quantized"
        raise UnsupportedModelError(
            f"{source.name} has no layer whose scales can be taken: {reasons}. "
            f"Calibrate it anew with `amct-lite calibrate --strip-qdq`."
        )
    half = source.half_nodes
    layers = tuple(replace(entry, data_type=HALF) if entry.key in half else entry for entry in taken.record.layers)
    return replace(taken, record=replace(taken.record, layers=layers))


def _between(model: ir.Model, target: str) -> qat.Between:
    """Which nodes between the layers are to read integers: as in a calibration, for ONNX Runtime."""
    return lambda layers: place(model, taking(model, layers)).reads if target == ORT else ()


def limited(source: SourceModel, record: QuantRecord) -> SourceModel:
    """`source` with Clips for the bounds of the Q that `record` leaves out; as it is where it had none."""
    limits = qat.limits_of(source.prepared, source.trained, record) if source.trained is not None else ()
    if not limits:
        return source
    prepared = ir.clone(source.prepared)
    qat.limit(prepared, limits)
    return replace(source, prepared=prepared)


def unrounded(source: SourceModel) -> SourceModel:
    """`source` with all that its Q limit, and nothing rounded: what errors of rounding are measured against, since a Q may
    stand for a Relu that is not there. A float model as it is."""
    return limited(source, QuantRecord(()))
