"""From scales that are there already, in a record or in a model with QuantizeLinear: models built, executed and compared."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from amct_lite import ir
from amct_lite.build import build_exports
from amct_lite.calibration.data import DataSource
from amct_lite.calibration.feeds import input_specs
from amct_lite.calibration.runner import keep
from amct_lite.calibration.store import Statistics
from amct_lite.config import QuantConfig
from amct_lite.errors import CalibrationError
from amct_lite.finishing import Said, check, finish
from amct_lite.fitting import require_input_shapes
from amct_lite.loading import load_prepared
from amct_lite.plan import not_in_record
from amct_lite.recorded import take_record
from amct_lite.reports import warnings as told
from amct_lite.reports.checks import COMPARED_SAMPLES
from amct_lite.reports.reference import GIVEN, compared_on_noise
from amct_lite.result import Built, QuantizeResult
from amct_lite.roundings import rounding_notes
from amct_lite.running import RunOptions, open_stream, without_effect
from amct_lite.trained import limited, require_trained, take_scales, unrounded
from amct_lite.types import QuantRecord


def convert(
    model: str | Path | ir.Model,
    record: QuantRecord | str | Path,
    *,
    config: QuantConfig | None = None,
    bias_correction: str | None = None,
    statistics: str | Path | Statistics | None = None,
    data: DataSource | None = None,
    options: RunOptions | None = None,
) -> QuantizeResult:
    """Build, run and compare the models of a record that was made elsewhere or edited by hand. Nothing is written.

    config: its target, input shapes, fusion, float16 and balance_fold count, the record decides the rest. statistics: the
    calibration file for bias correction and static shapes; when left out, the one that lies beside the record's file is taken,
    which the report says. bias_correction: None for the one of the calibration. data: samples to compare with the float model.
    Raises RecordError when the record does not fit the model.
    """
    chosen = options or RunOptions()
    settings = config or QuantConfig()
    taken = take_record(model, record, settings, statistics)
    source, given, known = taken.source, taken.record, taken.statistics
    _require_correction(bias_correction, known)
    exports = build_exports(
        source.prepared,
        given,
        target=settings.target,
        statistics=known,
        bias_correction=bias_correction or (known.bias_correction if known else "none"),
        input_shapes=settings.input_shapes,
        halves=taken.halves,
    )
    stream = open_stream(source, data, settings, chosen)
    built, exact = Built(source, None, given, known, exports), unrounded(source)
    feeds, outputs = keep(exact.prepared, stream, chosen.runtime) if stream else ((), ())
    checked = check(replace(built, source=exact), feeds, outputs, chosen)
    notes = (*without_effect(stream, chosen), *source.notes, *taken.notes, *told.record_notes(given))
    skips = not_in_record(given, source.prepared, settings.target)
    return finish(built, checked, feeds, Said(skips, notes, taken.warnings, (rounding_notes(known),)), chosen)


def convert_qdq(
    model: str | Path | ir.Model,
    *,
    config: QuantConfig | None = None,
    data: DataSource | None = None,
    options: RunOptions | None = None,
) -> QuantizeResult:
    """Build, run and compare the models of a model with QuantizeLinear and DequantizeLinear, with its own scales. Nothing is
    written.

    config: its target, input shapes and fusion count. data: samples to compare with the model given; random ones when left out.
    Raises UnsupportedModelError when no layer's scales can be taken.
    """
    chosen, settings = options or RunOptions(), config or QuantConfig()
    whole = replace(settings.folding, take_apart=False)  # the model's scales are of its own tensors
    source = load_prepared(model, whole, "take")
    trained = require_trained(source)
    taken = take_scales(source, trained, settings.target)
    source = limited(source, taken.record)
    require_input_shapes(settings, source.prepared)
    stream = open_stream(source, data, settings, chosen)
    seen = {name: array.shape for name, array in stream.peek().items()} if stream else {}
    shapes = {**seen, **settings.input_shapes}
    exports = build_exports(
        *(source.prepared, taken.record),
        target=settings.target,
        statistics=None,
        bias_correction="none",
        input_shapes=shapes,
    )
    built, exact = Built(source, None, taken.record, None, exports), unrounded(source)
    reference, on_cpu = trained.reference, chosen.runtime.on_cpu()
    feeds, outputs = keep(reference, stream, on_cpu, optimize=False) if stream else ((), ())
    # For ONNX Runtime weights of -128 may be -127, and ties round otherwise: little beside what rounding the float model costs,
    # but much beside nothing, which is what it costs a model that rounds itself.
    few = feeds[:COMPARED_SAMPLES] if settings.target == "ort" else ()
    floats = keep(exact.prepared, few, on_cpu)[1] if few else None
    checked = replace(check(replace(built, source=exact), feeds, outputs, chosen, floats), reference=GIVEN)
    if not feeds:
        checked = compared_on_noise(checked, reference, exports, input_specs(source.prepared), shapes, on_cpu)
    notes = (*without_effect(stream, chosen), *source.notes)
    result = finish(built, checked, feeds[:1], Said(taken.skips, notes, remarks=(taken.notes,)), chosen)
    return replace(result, taken=True)


def _require_correction(asked: str | None, known: Statistics | None) -> None:
    """A correction that was asked for by name is made, or refused."""
    if asked in {None, "none"} or (known is not None and (asked != "full" or known.bias_shifts is not None)):
        return
    lacking = "there is no calibration file" if known is None else "its calibration file holds no measured shifts"
    raise CalibrationError(
        f"{asked} bias correction is not possible: {lacking}. Calibrate with --bias-correction {asked}, or pass its file."
    )
