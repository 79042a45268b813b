"""What every run ends with: the exported models executed and compared, and the report about them."""

from __future__ import annotations

from collections.abc import Container, Mapping

from amct_lite.build import Exports
from amct_lite.calibration.data import random_data
from amct_lite.calibration.feeds import input_specs
from amct_lite.loading import SourceModel
from amct_lite.recorded import subject_of
from amct_lite.reports import warnings as told
from amct_lite.reports.checks import COMPARED_SAMPLES, Checked, check_exports, settle_half
from amct_lite.reports.report import Report, layer_rows, sizes_of
from amct_lite.running import RunOptions
from amct_lite.types import AnyArray, Feeds, QuantPlan, QuantRecord, Skip
from amct_lite.validate.balanced import verify_balanced


def check(
    source: SourceModel,
    record: QuantRecord,
    exports: Exports,
    feeds: tuple[Feeds, ...],
    outputs: tuple[tuple[AnyArray, ...], ...],
    options: RunOptions,
) -> Checked:
    """Execute what was exported on `feeds` (`outputs`: the float model's for them), on the CPU. Raises as `check_exports`, and
    VerificationError when a model whose layers were balanced no longer computes the same."""
    options.progress("verify", 0, None)
    specs = input_specs(source.prepared)
    if source.unbalanced is not None:
        random = random_data(specs, 2, shapes=exports.shapes) if exports.deploy is not None else ()
        verify_balanced(source.unbalanced, source.prepared, feeds[:COMPARED_SAMPLES] or tuple(random), options.runtime.on_cpu())
    return check_exports(source.prepared, record, exports, feeds, outputs, specs, options.runtime.on_cpu())


def in_half(
    source: SourceModel, record: QuantRecord, exports: Exports, feeds: tuple[Feeds, ...], options: RunOptions
) -> tuple[Exports, tuple[str, ...]]:
    """`exports`, the deploy model in float16 where that was in question and it stands the test; with what to tell the user."""
    return settle_half(exports, record, source.float_types, feeds, input_specs(source.prepared), options.runtime.on_cpu())


def report_of(
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
    levers: told.Levers = told.PLAIN,
) -> Report:
    """plan: None where the scales were decided elsewhere. skips: nodes that stay float. remarks: layer → what was done to it.
    learned: the layers whose weights were rounded by learning. levers: what the warnings offer."""
    return Report(
        model=source.name,
        target=exports.target,
        samples=exports.samples,
        layers=layer_rows(plan, record, source.prepared, checked.local, remarks),
        skips=skips,
        warnings=(
            *warnings,
            *told.unbounded_warnings(checked.outputs),
            *told.weight_warnings(source.prepared, record),
            *told.local_warnings(
                *(checked.local, source.prepared, record),
                learned=learned,
                target=exports.target,
                decided=plan is not None,
                levers=levers,
            ),
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
        model_path=str(source.path or ""),
    )
