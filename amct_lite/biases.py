"""Settles which bias correction a calibration ends with, and measures what it needs; nothing is exported here.

`auto` keeps the analytic one where it is good, or unless the sequential one is clearly better on samples held out from it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

from amct_lite import ir
from amct_lite.calibration.runner import Calibration
from amct_lite.calibration.store import Statistics
from amct_lite.correction.full import measure_shifts
from amct_lite.judging import Score, judges, score
from amct_lite.record import record_digest
from amct_lite.rounding.apply import apply_roundings
from amct_lite.runtime import RuntimeOptions
from amct_lite.settled import Settled, settle
from amct_lite.types import QuantRecord


def settle_biases(
    calibration: Calibration,
    prepared: ir.Model,
    record: QuantRecord,
    method: str,
    *,
    halves: Collection[str],
    options: RuntimeOptions,
    progress: Callable[[int], None],
) -> tuple[Calibration, Settled | None]:
    """`calibration` with the correction that holds: `none`, `analytic`, or `full` together with its measured shifts; and the
    models that it gives, where they had to be made to judge it.

    method: the one asked for; `auto` and `full` need samples. Without them an earlier measurement serves as long as it was
    made with the same scales; otherwise the correction is the analytic one. halves: as of `settle`.
    """
    known = calibration.statistics
    if method in {"none", "analytic"}:
        return replace(calibration, statistics=_with(known, method)), None
    analytic = replace(calibration, statistics=_with(known, "analytic"))
    if not calibration.feeds:
        measured = known.bias_shifts is not None and known.bias_record == record_digest(record)
        return calibration if measured else analytic, None
    held_out = judges(len(calibration.feeds)) if method == "auto" else 0
    if method == "auto" and not held_out:
        return analytic, None
    measured_on = len(calibration.feeds) - held_out
    judging = (calibration.feeds[measured_on:], calibration.outputs[measured_on:], options.on_cpu())
    simple, reached = None, Score()
    if held_out:
        simple, reached = score(settle(prepared, record, analytic.statistics, "analytic", halves), *judging)
    if reached.is_good():
        return analytic, simple
    rounded, _ = apply_roundings(prepared, record, known.roundings)
    shifts = measure_shifts(prepared, record, calibration.feeds[:measured_on], options, progress, rounded=rounded)
    full = replace(calibration, statistics=replace(_with(known, "full"), bias_shifts=shifts, bias_record=record_digest(record)))
    if not held_out:
        return full, None
    thorough, gained = score(settle(prepared, record, full.statistics, "full", halves, simple), *judging)
    return (full, thorough) if gained.clearly_above(reached) else (analytic, simple)


def bias_note(asked: str, calibration: Calibration) -> tuple[str, ...]:
    """What the user should know about the correction that was settled on."""
    settled = calibration.statistics.bias_correction
    if settled == "analytic" and asked in {"full", "auto"} and not calibration.feeds:
        return ("biases are corrected analytically: the full correction needs samples for these scales (pass --data, too)",)
    if asked == "auto":
        return (f"bias correction: {settled} (auto keeps analytic unless full is clearly better on samples held out)",)
    return ()


def _with(statistics: Statistics, method: str) -> Statistics:
    return replace(statistics, bias_correction=method, bias_shifts=None, bias_record="")
