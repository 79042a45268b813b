"""Settles which weights keep a rounding that was learned, and has it learned; nothing is exported here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import inf, log10

from amct_lite import ir
from amct_lite.calibration.runner import Calibration
from amct_lite.calibration.store import Statistics
from amct_lite.exporters.integers import QuantizedLayer, quantized_layers
from amct_lite.rounding.lesson import Lesson
from amct_lite.types import QuantPlan, Skip
from amct_lite.weights import Rounder, Rounding, make_weight_quantizer
from amct_lite.workers import Workers


def rounders_of(plan: QuantPlan) -> dict[str, Rounder]:
    """The layers whose weight method decides about rounding, too."""
    made = {
        layer.name: make_weight_quantizer(layer.weight_algorithm, dict(layer.weight_options))
        for layer in plan.layers
        if layer.weight is not None
    }
    return {name: rounder for name, rounder in made.items() if isinstance(rounder, Rounder)}


def settle_roundings(
    calibration: Calibration,
    prepared: ir.Model,
    lesson: Lesson,
    *,
    apart: bool = False,
    workers: Workers | None = None,
    progress: Callable[[int], None],
) -> tuple[Calibration, tuple[Skip, ...]]:
    """`calibration` with the roundings that the rounders of `lesson` decide, and the weights that stay rounded to nearest after
    all.

    Learning needs samples. Without them what was learned before serves, for the same method and scales. apart: each layer
    learns as if it were the only one that is quantized; `workers` may share these.
    """
    rounders = lesson.rounders
    if not rounders:
        return _with(calibration, {}), ()
    if lesson.data:
        from amct_lite.rounding.learn import learn_roundings
        from amct_lite.rounding.sharing import learn_apart

        if apart and workers:
            learned = learn_apart(prepared, lesson, workers, progress)
        else:
            learned = learn_roundings(prepared, lesson, apart=apart, progress=progress)
        return _with(calibration, learned.roundings), learned.skips
    known = calibration.statistics.roundings
    weights = {item.layer.name: item for item in quantized_layers(prepared, lesson.record)}
    kept = {
        name: rounding
        for name, rounding in known.items()
        if name in rounders
        and rounding.method == repr(rounders[name])
        and rounding.fits(weights[name].layer.rows(weights[name].layer.weight_array), weights[name].weight)
    }
    missing = tuple(_without_data(weights[name]) for name in rounders if name not in kept)
    return _with(calibration, kept), missing


def _without_data(item: QuantizedLayer) -> Skip:
    columns = item.spec.columns(item.layer)
    reason = columns if isinstance(columns, str) else "another rounding is learned from samples only (pass --data, too)"
    return Skip(item.layer.name, item.layer.op_type, f"its weight is rounded to nearest: {reason}")


def rounding_notes(statistics: Statistics | None) -> Mapping[str, str]:
    """Layer → what its rounding has gained, as a sentence."""
    roundings = statistics.roundings if statistics else {}
    return {
        name: f"learned rounding: output error {_gain(rounding):.1f} dB below that of rounding to nearest"
        for name, rounding in roundings.items()
    }


def _gain(rounding: Rounding) -> float:
    return 10 * log10(rounding.before / rounding.after) if rounding.after else inf


def _with(calibration: Calibration, roundings: dict[str, Rounding]) -> Calibration:
    """Shifts of biases that were measured with other weights do not serve any more."""
    known = calibration.statistics
    measured_with = known.bias_record if roundings.keys() == known.roundings.keys() else ""
    return replace(calibration, statistics=replace(known, roundings=roundings, bias_record=measured_with))
