"""The main job, end to end: a float model and sample data in; record, fake-quant and deploy model out, executed and compared.

The place to read first: `quantize` calls the stages in their order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from amct_lite import ir
from amct_lite.biases import bias_note
from amct_lite.calibrated import Calibrated
from amct_lite.calibration import store
from amct_lite.calibration.data import CalibrationData, DataSource
from amct_lite.calibration.runner import Calibration, collect, keep
from amct_lite.calibration.store import Statistics
from amct_lite.calibration.tame import without_samples
from amct_lite.config import QuantConfig
from amct_lite.decide import decide, require_observed
from amct_lite.errors import CalibrationError, UnsupportedModelError
from amct_lite.fallback import NOT_MEASURED, fallback_of, fallen_back
from amct_lite.finishing import Said, check, finish
from amct_lite.loading import SourceModel, load_prepared
from amct_lite.numerics.sketch import Outlier
from amct_lite.ops import OPS
from amct_lite.plan import resolve
from amct_lite.prebalance import balanced, decide_balance, known_balance, with_factors
from amct_lite.recorded import put_together, require_same_model
from amct_lite.reports import warnings as told
from amct_lite.result import Built, QuantizeResult
from amct_lite.roundings import rounders_of, rounding_notes
from amct_lite.running import RunOptions, open_stream, without_effect
from amct_lite.sparing import spare
from amct_lite.types import QuantPlan


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
    return settle(calibrate(model, data, config, statistics=statistics, options=chosen), chosen)


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
    plan = resolve(settings, source.prepared, source.gone)
    _require_layers(source, plan)
    stream = open_stream(source, data, settings, chosen)
    known = store.load(statistics) if isinstance(statistics, str | Path) else statistics
    balance = known_balance(known, plan, settings) if known else decide_balance(source, plan, settings, stream, chosen)
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


def settle(calibrated: Calibrated, options: RunOptions) -> QuantizeResult:
    """The second half of `quantize`; done once more where some layers turn out to be ruined, with these in float."""
    sound, result = without_ruined(calibrated, options)
    if result is None:
        return conclude(sound, options)
    if calibrated.calibration.feeds or not calibrated.settings.fallback:
        return result
    return replace(result, report=replace(result.report, notes=(*result.report.notes, NOT_MEASURED)))


def without_ruined(calibrated: Calibrated, options: RunOptions) -> tuple[Calibrated, QuantizeResult | None]:
    """`calibrated` with what turns out to be ruined in float; where nothing is, it is concluded by that."""
    result = conclude(calibrated, options)
    fallback = fallback_of(calibrated, result.report)
    return (fallen_back(calibrated, fallback), None) if fallback else (calibrated, result)


def conclude(calibrated: Calibrated, options: RunOptions, *, levers: told.Levers = told.PLAIN) -> QuantizeResult:
    """Biases corrected, models built, run and compared. levers: what the warnings offer."""
    total = len(calibrated.decision.record.layers)
    settled = calibrated.with_biases(options.runtime, lambda layers: options.progress("correct biases", layers, total))
    source, settings, plan, decision = settled.source, settled.settings, settled.plan, settled.decision
    calibration, statistics = settled.calibration, settled.calibration.statistics
    built = Built(source, plan, decision.record, statistics, settled.exports())
    checked = check(built, calibration.feeds, calibration.outputs, options)
    corrected = bias_note(settings.bias_correction, calibration)
    taken_in = told.taken_in_notes(statistics.robust()[1]) if statistics.trusted else ()
    idle = (*settings.without_effect, *without_effect(settled.data, options))
    seen = told.input_notes(calibration.feeds)
    notes = (*idle, *source.notes, *calibration.notes(), *seen, *taken_in, *corrected)
    remarks = (decision.repairs, rounding_notes(statistics), {skip.node: skip.reason for skip in settled.nearest})
    said = Said(plan.skips, notes, settled.warnings, remarks, levers)
    return finish(built, checked, calibration.feeds, said, options)


def _require_layers(source: SourceModel, plan: QuantPlan) -> None:
    if plan.layers or plan.reads:
        return
    reasons = "; ".join(f"{skip.node} ({skip.op_type}): {skip.reason}" for skip in plan.skips[:5])
    raise UnsupportedModelError(
        f"{source.name} has no layer to quantize: {reasons or 'it holds none of ' + ', '.join(OPS.names())}."
        " `amct-lite inspect` lists every node that was looked at."
    )


def _calibration(
    source: SourceModel,
    plan: QuantPlan,
    stream: CalibrationData | None,
    known: Statistics | None,
    settings: QuantConfig,
    options: RunOptions,
) -> Calibration:
    if known is not None:
        known = put_together(known, source, settings.folding)
        require_same_model(known, source)
        require_observed(plan, known.sketches)
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
    statistics = replace(
        calibration.statistics,
        data=stream.description,
        random=bool(options.random),
        unfused=source.unfused,
        taken_apart=source.taken_apart,
    )
    return replace(calibration, statistics=_decided(statistics, settings))


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
