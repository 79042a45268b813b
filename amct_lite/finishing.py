"""What every run ends with: the exported models executed and compared, the report about them, and the result of it all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from amct_lite.calibration.data import random_data
from amct_lite.calibration.feeds import input_specs
from amct_lite.recorded import subject_of
from amct_lite.reports import warnings as told
from amct_lite.reports.atc import opset_notes, opset_warnings
from amct_lite.reports.balancing import better_balanced
from amct_lite.reports.checks import COMPARED_SAMPLES, Checked, check_exports, settle_half
from amct_lite.reports.report import Report, layer_rows, sizes_of
from amct_lite.result import Built, QuantizeResult
from amct_lite.roundings import rounders_of
from amct_lite.running import RunOptions
from amct_lite.types import AnyArray, Feeds, Skip
from amct_lite.validate.balanced import verify_balanced


@dataclass(frozen=True)
class Said:
    """What there is to say of a run beside what is measured. skips: nodes that stay float. remarks: layer → what was done to
    it. levers: what the warnings offer."""

    skips: tuple[Skip, ...]
    notes: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    remarks: tuple[Mapping[str, str], ...] = ()
    levers: told.Levers = told.PLAIN


def check(
    built: Built,
    feeds: tuple[Feeds, ...],
    outputs: tuple[tuple[AnyArray, ...], ...],
    options: RunOptions,
    floats: tuple[tuple[AnyArray, ...], ...] | None = None,
) -> Checked:
    """Execute what was exported on `feeds` (`outputs`: the float model's for them), on the CPU. floats: as for `check_exports`.
    Raises as that does, and VerificationError when a model whose layers were balanced no longer computes the same."""
    options.progress("verify", 0, None)
    source, exports, runtime = built.source, built.exports, options.runtime.on_cpu()
    specs = input_specs(source.prepared)
    if source.unbalanced is not None:
        samples = feeds[:COMPARED_SAMPLES]
        if not samples and exports.deploy is not None:
            samples = tuple(random_data(specs, 2, shapes=exports.shapes))
        verify_balanced(source.unbalanced.prepared, source.prepared, samples, runtime)
    return check_exports(source.prepared, built.record, exports, feeds, outputs, specs, runtime, floats)


def finish(built: Built, checked: Checked, feeds: tuple[Feeds, ...], said: Said, options: RunOptions) -> QuantizeResult:
    """The result, its deploy model in float16 where that was in question and it stands the test on `feeds`."""
    source, runtime = built.source, options.runtime.on_cpu()
    exports, notes = settle_half(built.exports, built.record, source.float_types, feeds, input_specs(source.prepared), runtime)
    built = replace(built, exports=exports)
    report = _report(built, checked, replace(said, notes=(*said.notes, *notes)))
    return QuantizeResult(**vars(built), report=report, sample=next(iter(feeds), None))


def _report(built: Built, checked: Checked, said: Said) -> Report:
    source, record, exports, plan = built.source, built.record, built.exports, built.plan
    learned = {*(built.statistics.roundings if built.statistics else ()), *(rounders_of(plan) if plan else ())}
    return Report(
        model=source.name,
        target=exports.target,
        samples=exports.samples,
        layers=layer_rows(plan, record, source.prepared, checked.local, said.remarks),
        skips=said.skips,
        warnings=(
            *said.warnings,
            *told.unbounded_warnings(checked.outputs),
            *told.output_warnings(checked.outputs, source.prepared),
            *opset_warnings(exports),
            *told.weight_warnings(source.prepared, record, checked.local),
            *told.local_warnings(
                *(checked.local, source.prepared, record),
                learned=learned,
                target=exports.target,
                decided=plan is not None,
                levers=said.levers,
                uneven=better_balanced(source.prepared, built.statistics, told.named_layers(checked.local), exports.target),
            ),
        ),
        notes=(
            *said.notes,
            *checked.remarks,
            *told.picked_notes(checked.outputs, source.prepared),
            *told.correction_notes(exports),
            *told.width_notes(exports, checked),
            *told.storage_notes(record, exports.target),
            *told.speed_notes(exports),
            *told.batch_notes(exports),
            *opset_notes(exports),
        ),
        passes=tuple(report for report in source.reports if report.changed or report.skips),
        outputs=checked.outputs,
        compared_samples=checked.samples,
        reference=checked.reference,
        equivalence=checked.equivalence,
        equivalence_data=checked.data,
        kernels=checked.kernels,
        deploy_problem=str(exports.deploy_problem) if exports.deploy_problem else None,
        deploy_shapes=dict(exports.shapes),
        sizes=sizes_of(source, exports),
        subject=subject_of(source, record),
        model_path=str(source.path or ""),
    )
