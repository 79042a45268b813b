"""Settles which bias correction a calibration ends with, and measures what it needs; nothing is exported here.

`auto` keeps the analytic one where it is good, or unless the sequential one is clearly better on samples held out from it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from amct_lite import ir
from amct_lite.calibration.runner import Calibration
from amct_lite.calibration.store import Sketches, Statistics
from amct_lite.correction.analytic import correct_bias
from amct_lite.correction.choice import CLEAR_DB, GOOD_DB, judges, score
from amct_lite.correction.full import apply_shifts, measure_shifts
from amct_lite.record import record_digest
from amct_lite.rounding.apply import apply_roundings
from amct_lite.runtime import RuntimeOptions
from amct_lite.types import QuantRecord


def settle_biases(
    calibration: Calibration,
    prepared: ir.Model,
    record: QuantRecord,
    usable: Sketches,
    method: str,
    *,
    options: RuntimeOptions,
    progress: Callable[[int], None],
) -> Calibration:
    """`calibration` with the correction that holds: `none`, `analytic`, or `full` together with its measured shifts.

    method: the one asked for; `auto` and `full` need samples. Without them an earlier measurement serves as long as it was
    made with the same scales; otherwise the correction is the analytic one.
    """
    known = calibration.statistics
    if method in {"none", "analytic"}:
        return replace(calibration, statistics=_with(known, method))
    digest = record_digest(record)
    rounded, _ = apply_roundings(prepared, record, known.roundings)
    if not calibration.feeds:
        reusable = known.bias_shifts is not None and known.bias_record == digest
        return calibration if reusable else replace(calibration, statistics=_with(known, "analytic"))
    held_out = judges(len(calibration.feeds)) if method == "auto" else 0
    if method == "auto" and not held_out:
        return replace(calibration, statistics=_with(known, "analytic"))
    measured_on = len(calibration.feeds) - held_out
    judging = (calibration.feeds[measured_on:], calibration.outputs[measured_on:], options)
    reached = score(correct_bias(prepared, record, usable, rounded=rounded).model, record, *judging) if held_out else 0.0
    if reached >= GOOD_DB:
        return replace(calibration, statistics=_with(known, "analytic"))
    shifts = measure_shifts(prepared, record, calibration.feeds[:measured_on], options, progress, rounded=rounded)
    if held_out and score(apply_shifts(rounded, record, shifts), record, *judging) <= reached + CLEAR_DB:
        return replace(calibration, statistics=_with(known, "analytic"))
    return replace(calibration, statistics=replace(_with(known, "full"), bias_shifts=shifts, bias_record=digest))


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
