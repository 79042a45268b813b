"""The main job, end to end: a float model and sample data in; record, fake-quant and deploy model out, executed and compared.

The place to read first: `quantize` and `convert` call the stages in their order.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from amct_lite import ir
from amct_lite.biases import bias_note
from amct_lite.build import Exports, build_exports
from amct_lite.calibrated import Calibrated
from amct_lite.calibration import store
from amct_lite.calibration.checkpoint import Checkpoint
from amct_lite.calibration.data import CalibrationData, DataSource, open_data, random_data
from amct_lite.calibration.feeds import input_specs
from amct_lite.calibration.images import ImageOptions
from amct_lite.calibration.runner import Calibration, collect, keep
from amct_lite.calibration.store import Statistics
from amct_lite.calibration.tame import without_samples
from amct_lite.config import QuantConfig
from amct_lite.decide import decide
from amct_lite.errors import CalibrationError, UnsupportedModelError
from amct_lite.loading import SourceModel, load_prepared
from amct_lite.numerics.sketch import Outlier
from amct_lite.ops import OPS
from amct_lite.plan import not_in_record, require_input_shapes, resolve
from amct_lite.prebalance import balanced, decide_balance, known_balance, with_factors
from amct_lite.recorded import require_same_model, subject_of, take_record
from amct_lite.reports import warnings as told
from amct_lite.reports.checks import COMPARED_SAMPLES, Checked, check_exports, settle_half
from amct_lite.reports.reference import check_trained
from amct_lite.reports.report import Report, layer_rows, sizes_of
from amct_lite.result import QuantizeResult
from amct_lite.roundings import rounders_of, rounding_notes
from amct_lite.runtime import RuntimeOptions
from amct_lite.sparing import spare
from amct_lite.trained import take_scales
from amct_lite.types import AnyArray, Balance, Feeds, QuantPlan, QuantRecord, Skip
from amct_lite.validate.balanced import verify_balanced
from amct_lite.workers import Workers, as_workers

Progress = Callable[[str, int, int | None], None]
"""(stage, how many more are done, how many there are; None when unknown)."""


@dataclass(frozen=True)
class RunOptions:
    """How a run is carried out, as opposed to what it decides.

    images: how images become arrays. batch_size: rows of a batch where one file holds many samples. random: calibrate with
    so many batches of noise instead of data. progress: called as the stages go on. workers: who shares the passes over the
    data; an executor alone will do. checkpoint: where these passes save themselves, and whether they go on from there.
    strip_qdq: calibrate the float model that a model with QuantizeLinear and DequantizeLinear was made from.
    """

    runtime: RuntimeOptions = field(default_factory=RuntimeOptions)
    images: ImageOptions | None = None
    batch_size: int | None = None
    random: int | None = None
    progress: Progress = lambda _stage, _done, _total: None
    workers: Workers | None = None
    checkpoint: Checkpoint | None = None
    strip_qdq: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "workers", as_workers(self.workers))  # frozen for everybody else


def quantize(
    model: str | Path | ir.Model,
    data: DataSource | None = None,
    config: QuantConfig | None = None,
    *,
    statistics: str | Path | Statistics | None = None,
    options: RunOptions | None = None,
) -> QuantizeResult:
    """Calibrate `model` on `data`, then build, run and compare all that is exported. Nothing is written.

    data: an iterable of feeds (input name → array), or a path that `open_data` understands. config: None for the defaults.
    statistics: a saved calibration (`<prefix>_calibration.npz`) to decide from without running the model again; `data` may
    then be left out, and with it the comparison on real data.
    Raises the AmctError of the stage that cannot go on; VerificationError when an exported model does not do what it must.
    """
    chosen = options or RunOptions()
    return conclude(calibrate(model, data, config, statistics=statistics, options=chosen), chosen)


def calibrate(
    model: str | Path | ir.Model,
    data: DataSource | None = None,
    config: QuantConfig | None = None,
    *,
    statistics: str | Path | Statistics | None = None,
    options: RunOptions | None = None,
) -> Calibrated:
    """The first half of `quantize`: the data are read (twice where layers are balanced), and every scale and rounding is
    decided. No model is built."""
    chosen = options or RunOptions()
    settings = config or QuantConfig()
    source = load_prepared(model, settings.folding, "strip" if chosen.strip_qdq else "refuse")
    plan = resolve(settings, source.prepared)
    _require_layers(source, plan)
    stream = open_stream(source, data, settings, chosen)
    known = store.load(statistics) if isinstance(statistics, str | Path) else statistics
    balance = known_balance(known, plan, settings) if known else _new_balance(source, plan, stream, settings, chosen)
    if balance:
        source = balanced(source, balance)
        plan = resolve(settings, source.prepared)
    calibration = _calibration(source, plan, stream, known, settings, chosen)
    calibration = replace(calibration, statistics=replace(calibration.statistics, balance=balance, halves=plan.halves))
    usable, outliers = calibration.statistics.usable()
    calibration = _without_wild_samples(calibration, source, outliers, chosen)
    plan = spare(plan, source.prepared, usable)
    decision = decide(source.prepared, plan, usable, source.unfused, source.half_nodes)
    decision = replace(decision, record=with_factors(decision.record, balance))
    doubts = told.sample_warnings(calibration.feeds, outliers)
    warnings = (*calibration.statistics.warnings(), *doubts, *told.width_warnings(settings, plan))
    decided = Calibrated(source, settings, plan, calibration, usable, decision, stream, warnings)
    total = len(rounders_of(plan))
    return decided.with_roundings(chosen.runtime, lambda layers: chosen.progress("learn rounding", layers, total))


def conclude(calibrated: Calibrated, options: RunOptions) -> QuantizeResult:
    """The second half of `quantize`: biases corrected, models built, run and compared."""
    total = len(calibrated.decision.record.layers)
    settled = calibrated.with_biases(options.runtime, lambda layers: options.progress("correct biases", layers, total))
    source, decision, calibration = settled.source, settled.decision, settled.calibration
    exports = settled.exports()
    checked = _check(source, decision.record, exports, calibration.feeds, calibration.outputs, options)
    exports, half_notes = _in_half(source, decision.record, exports, calibration.feeds, options)
    settings = settled.settings
    corrected = bias_note(settings.bias_correction, calibration)
    statistics = calibration.statistics
    taken_in = told.taken_in_notes(statistics.robust()[1]) if statistics.trusted else ()
    notes = (*settings.without_effect, *source.notes, *calibration.notes(), *taken_in, *corrected, *half_notes)
    plan = settled.plan
    remarks = (decision.repairs, rounding_notes(calibration.statistics), {skip.node: skip.reason for skip in settled.nearest})
    report = _report(
        source,
        decision.record,
        exports,
        checked,
        plan=plan,
        skips=plan.skips,
        notes=notes,
        warnings=settled.warnings,
        remarks=remarks,
        learned={*statistics.roundings, *rounders_of(plan)},
    )
    return QuantizeResult(
        source, plan, decision.record, calibration.statistics, exports, report, next(iter(calibration.feeds), None)
    )


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
    feeds, outputs = keep(source.prepared, stream, chosen.runtime) if stream else ((), ())
    checked = _check(source, given, exports, feeds, outputs, chosen)
    exports, half_notes = _in_half(source, given, exports, feeds, chosen)
    notes, remarks = (*source.notes, *taken.notes, *told.record_notes(given), *half_notes), (rounding_notes(known),)
    skips = not_in_record(given, source.prepared, settings.target)
    learned = known.roundings if known else ()
    shown = (source, given, exports, checked)
    report = _report(*shown, skips=skips, notes=notes, warnings=taken.warnings, remarks=remarks, learned=learned)
    return QuantizeResult(source, None, given, known, exports, report, next(iter(feeds), None))


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
    source, taken, reference = take_scales(load_prepared(model, settings.folding, "take"), settings.target)
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
    chosen.progress("verify", 0, None)
    specs = input_specs(source.prepared)
    checked, against, sample = check_trained(
        reference, source.prepared, taken.record, exports, stream, specs, shapes, chosen.runtime.on_cpu()
    )
    exports, half_notes = _in_half(source, taken.record, exports, (sample,) if sample else (), chosen)
    notes, shown = (*source.notes, *half_notes), (source, taken.record, exports, checked)
    report = _report(*shown, skips=taken.skips, notes=notes, warnings=(), remarks=(taken.notes,))
    return QuantizeResult(source, None, taken.record, None, exports, replace(report, reference=against), sample, taken=True)


def _require_layers(source: SourceModel, plan: QuantPlan) -> None:
    if plan.layers or plan.reads:
        return
    reasons = "; ".join(f"{skip.node} ({skip.op_type}): {skip.reason}" for skip in plan.skips[:5])
    raise UnsupportedModelError(
        f"{source.name} has no layer to quantize: {reasons or 'it holds none of ' + ', '.join(OPS.names())}."
        " `amct-lite inspect` lists every node that was looked at."
    )


def open_stream(
    source: SourceModel, data: DataSource | None, settings: QuantConfig, options: RunOptions
) -> CalibrationData | None:
    """The data, its first batch already checked against the model; None when there is none."""
    specs = input_specs(source.prepared)
    if data is None:
        return random_data(specs, options.random, shapes=settings.input_shapes) if options.random else None
    stream = open_data(
        data,
        specs,
        batches=settings.batches,
        batch_size=options.batch_size,
        shapes=settings.input_shapes,
        images=options.images,
    )
    stream.peek()
    return stream


def _calibration(
    source: SourceModel,
    plan: QuantPlan,
    stream: CalibrationData | None,
    known: Statistics | None,
    settings: QuantConfig,
    options: RunOptions,
) -> Calibration:
    if known is not None:
        require_same_model(known, source)
        feeds, outputs = keep(source.prepared, stream, options.runtime) if stream else ((), ())
        return Calibration(_decided(known, settings), feeds, outputs)
    if stream is None:
        raise CalibrationError("there is no data to calibrate with. Pass samples, or a saved calibration.")
    total = stream.count
    calibration = collect(
        source.prepared,
        plan,
        stream,
        options=options.runtime,
        workers=options.workers,
        checkpoint=options.checkpoint,
        progress=lambda batches: options.progress("calibrate", batches, total),
    )
    known = replace(calibration.statistics, data=stream.description, random=bool(options.random), unfused=source.unfused)
    return replace(calibration, statistics=_decided(known, settings))


def _decided(statistics: Statistics, settings: QuantConfig) -> Statistics:
    return replace(statistics, trusted=settings.trust_data)


def _without_wild_samples(
    calibration: Calibration, source: SourceModel, outliers: Mapping[str, tuple[Outlier, ...]], options: RunOptions
) -> Calibration:
    """What is left out of the ranges must not decide biases or judge the result either."""
    wild = {outlier.sample for found in outliers.values() for outlier in found}
    if not wild or not calibration.feeds:
        return calibration
    feeds, outputs = keep(source.prepared, without_samples(calibration.feeds, wild), options.runtime)
    return replace(calibration, feeds=feeds, outputs=outputs)


def _require_correction(asked: str | None, known: Statistics | None) -> None:
    """A correction that was asked for by name is made, or refused."""
    if asked in {None, "none"} or (known is not None and (asked != "full" or known.bias_shifts is not None)):
        return
    lacking = "there is no calibration file" if known is None else "its calibration file holds no measured shifts"
    raise CalibrationError(
        f"{asked} bias correction is not possible: {lacking}. Calibrate with --bias-correction {asked}, or pass its file."
    )


def _new_balance(
    source: SourceModel, plan: QuantPlan, stream: CalibrationData | None, settings: QuantConfig, options: RunOptions
) -> Balance | None:
    total = stream.count if stream else None
    return decide_balance(
        source,
        plan,
        settings,
        stream,
        options=options.runtime,
        workers=options.workers,
        checkpoint=replace(options.checkpoint, stage="balance") if options.checkpoint else None,
        progress=lambda batches: options.progress("balance", batches, total),
    )


def _check(
    source: SourceModel,
    record: QuantRecord,
    exports: Exports,
    feeds: tuple[Feeds, ...],
    outputs: tuple[tuple[AnyArray, ...], ...],
    options: RunOptions,
) -> Checked:
    options.progress("verify", 0, None)
    specs = input_specs(source.prepared)
    if source.unbalanced is not None:
        random = random_data(specs, 2, shapes=exports.shapes) if exports.deploy is not None else ()
        verify_balanced(source.unbalanced, source.prepared, feeds[:COMPARED_SAMPLES] or tuple(random), options.runtime.on_cpu())
    return check_exports(source.prepared, record, exports, feeds, outputs, specs, options.runtime.on_cpu())


def _in_half(
    source: SourceModel, record: QuantRecord, exports: Exports, feeds: tuple[Feeds, ...], options: RunOptions
) -> tuple[Exports, tuple[str, ...]]:
    return settle_half(exports, record, source.float_types, feeds, input_specs(source.prepared), options.runtime.on_cpu())


def _report(
    source: SourceModel,
    record: QuantRecord,
    exports: Exports,
    checked: Checked,
    *,
    plan: QuantPlan | None = None,
    skips: tuple[Skip, ...],
    notes: tuple[str, ...],
    warnings: tuple[str, ...],
    remarks: tuple[Mapping[str, str], ...],
    learned: Container[str] = (),
) -> Report:
    return Report(
        model=source.name,
        target=exports.target,
        samples=exports.samples,
        layers=layer_rows(plan, record, source.prepared, checked.local, remarks),
        skips=skips,
        warnings=(
            *warnings,
            *told.weight_warnings(source.prepared, record),
            *told.local_warnings(checked.local, source.prepared, record, learned=learned, target=exports.target),
        ),
        notes=(
            *notes,
            *(f"{s.node}: {s.reason}" for s in exports.skips),
            *told.width_notes(exports, checked),
            *told.storage_notes(record, exports.target),
        ),
        passes=tuple(report for report in source.reports if report.changed or report.skips),
        outputs=checked.outputs,
        compared_samples=checked.samples,
        equivalence=checked.equivalence,
        equivalence_data=checked.data,
        kernels=checked.kernels,
        deploy_problem=str(exports.deploy_problem) if exports.deploy_problem else None,
        deploy_shapes=dict(exports.shapes),
        sizes=sizes_of(source, exports),
        subject=subject_of(source, record),
    )
