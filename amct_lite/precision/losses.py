"""What a layer costs in accuracy when it alone is quantized: measured at the outputs of the network or at its own, or read
from a file.

A loss is the energy of the error over that of the signal, which adds up over independent errors. 0 means no loss.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from amct_lite import ir
from amct_lite.analysis.candidates import Scales, parse_candidate
from amct_lite.analysis.local_error import measure
from amct_lite.analysis.network_error import measure_local
from amct_lite.analysis.sensitivity import METHODS, measure_sensitivity
from amct_lite.calibrated import Calibrated
from amct_lite.errors import ConfigError, DataError
from amct_lite.precision.widths import FLOAT16
from amct_lite.registry import did_you_mean
from amct_lite.reports.report import OutputError, output_errors
from amct_lite.rounding.apply import apply_roundings
from amct_lite.running import RunOptions
from amct_lite.runtime import RuntimeOptions, open_session
from amct_lite.types import Feeds, QuantRecord

SAMPLES = 32
"""Kept batches that losses are measured on. With 8, what a layer loses is chance where outputs are probabilities: for a keyword
spotter, choices made on 8 ended at 22 dB where those made on 32 ended at 40."""
MEASURES = (*METHODS, "local")
WORST = 1e6
"""Of an output that overflows, or an error where there is no signal."""

_SATURATED = 0.95
"""From here on a loss tells no more how strong the errors are."""

_CANDIDATES = {FLOAT16.name: "FP16"}
_WIDTHS = {candidate: name for name, candidate in _CANDIDATES.items()}
"""The sensitivity analysis has another name for float16."""

Losses = Mapping[str, Mapping[str, float]]
"""Widths → layer → loss."""


def network_losses(
    calibrated: Calibrated, widths: str, layers: Collection[str], method: str, journal: Path | None, options: RunOptions
) -> dict[str, float]:
    """Layer → loss at the outputs of the network, with this layer alone quantized as it would be exported; measured, or
    estimated.

    journal: what an interrupted run has measured for these widths; the caller removes it.
    """
    prepared, record, statistics = calibrated.source.prepared, calibrated.decision.record, calibrated.calibration.statistics
    scales = Scales(
        *(record, calibrated.plan, calibrated.usable),
        correct_biases=calibrated.settings.bias_correction != "none",
        rounded=apply_roundings(prepared, record, statistics.roundings)[0],
    )
    found = measure_sensitivity(
        *(prepared, scales, calibrated.calibration.feeds[:SAMPLES]),
        candidates=(_CANDIDATES.get(widths, widths),),
        layers=layers,
        method=method,
        journal=journal,
        options=options,
    )
    return {layer: _finite(loss) for layer, loss in found.damages(_CANDIDATES.get(widths, widths)).items()}


def local_losses(calibrated: Calibrated, layers: Iterable[str], runtime: RuntimeOptions) -> dict[str, float]:
    """Layer → loss at its own output, all layers in one pass."""
    corrected = calibrated.with_biases(runtime).exports("generic").corrected
    record = QuantRecord(tuple(calibrated.decision.record.by_key[layer] for layer in layers))
    errors = measure(calibrated.source.prepared, corrected, record, calibrated.calibration.feeds[:SAMPLES], runtime)
    return {layer: _ratio(errors[layer].sqnr_db) if layer in errors else WORST for layer in record.by_key}


def local_half_losses(calibrated: Calibrated, layers: Iterable[str], runtime: RuntimeOptions) -> dict[str, float]:
    """The same in float16."""
    prepared, scales = calibrated.source.prepared, Scales(calibrated.decision.record, calibrated.plan)
    variants = scales.variants(prepared, (parse_candidate(_CANDIDATES[FLOAT16.name]),), tuple(layers))
    sums = measure_local(prepared, variants, calibrated.calibration.feeds[:SAMPLES], runtime, lambda _done: None)
    return {variant.layer: _finite(found.figures().nmse) for variant, found in sums.items()}


def outputs_of(model: ir.Model, calibrated: Calibrated, runtime: RuntimeOptions) -> tuple[OutputError, ...]:
    """The errors of the float outputs of `model` on the first samples. Raises DataError where no output holds floats."""
    calibration = calibrated.calibration
    session = open_session(model, runtime)
    feeds: Sequence[Feeds] = calibration.feeds[:SAMPLES]
    results = [tuple(session.run_apart({name: sample[name] for name in session.input_names})) for sample in feeds]
    errors = output_errors(session.output_names, calibration.outputs[:SAMPLES], results)
    if not errors:
        raise DataError(
            "no output of the model holds floats of a fixed number, so there is no error to measure. Pass an evaluator, "
            "and rank the layers with --sensitivity local."
        )
    return errors


def loss_of(errors: Sequence[OutputError]) -> float:
    """The mean over the outputs; 0 without any."""
    return 0.0 if not errors else math.fsum(_ratio(error.sqnr_db) for error in errors) / len(errors)


def _ratio(sqnr_db: float) -> float:
    """Error over signal; 0 for what is identical."""
    if math.isnan(sqnr_db):
        return WORST
    return 0.0 if sqnr_db == math.inf else min(WORST, 10 ** (-max(sqnr_db, -60.0) / 10))


def strength(loss: float) -> float:
    """The u of a loss, which adds up; nearly the loss where it is small, and growing with it where it is saturated."""
    known = min(loss, _SATURATED)
    return -math.log1p(-known) * max(1.0, loss / _SATURATED)


def loss_at(strength: float) -> float:
    """The inverse below saturation; 1 at most."""
    return -math.expm1(-strength)


def read_losses(path: Path, wanted: Mapping[str, Iterable[str]], model: str) -> dict[str, dict[str, float]]:
    """The losses in a file: of a search (`<prefix>_search.json`), or of `amct-lite sensitivity --json`.

    wanted: widths → the layers that must be there; float16, whose losses hardly count, may be missing. model: the checksum of
    the float model. Raises ConfigError for what is no such file, or one of another model.
    """
    losses = _table(path, model)
    if FLOAT16.name in wanted and FLOAT16.name not in losses:
        losses[FLOAT16.name] = dict.fromkeys(wanted[FLOAT16.name], 0.0)
    for widths, layers in wanted.items():
        if widths not in losses:
            hint = did_you_mean(widths, losses)
            raise ConfigError(
                f"{path} has no losses for {widths}{hint}; it has {', '.join(losses) or 'none'}. Measure them, or leave "
                f"{widths} out with --widths."
            )
        if missing := [layer for layer in layers if layer not in losses[widths]]:
            raise ConfigError(
                f"{path} says nothing of layer {missing[0]!r} with {widths}{did_you_mean(missing[0], losses[widths])}: it was "
                "measured with another model, or with other layers skipped. Measure again."
            )
    return {widths: {layer: losses[widths][layer] for layer in layers} for widths, layers in wanted.items()}


def _table(path: Path, model: str) -> dict[str, dict[str, float]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"cannot read {path}: {error.strerror}. Name a file of losses, or {' or '.join(MEASURES)}."
        ) from error
    except ValueError as error:
        raise ConfigError(f"{path} is no JSON: {error}. Name a file that a search or a sensitivity analysis wrote.") from error
    try:
        if (content.get("subject") or {}).get("model", model) != model:
            raise ConfigError(f"{path} was measured with another float model. Measure again, with this one.")
        if "losses" in content:
            return {widths: {name: _number(loss) for name, loss in row.items()} for widths, row in content["losses"].items()}
        found: dict[str, dict[str, float]] = {}
        for effect in content["effects"]:
            widths = _WIDTHS.get(effect["candidate"], effect["candidate"])
            found.setdefault(widths, {})[effect["layer"]] = _number(effect["damage"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"{path} holds no losses of layers. Name a file that a search or a sensitivity analysis wrote."
        ) from error
    return found


def _number(value: object) -> float:
    """null stands for what was not finite."""
    return WORST if value is None else _finite(float(value))  # type: ignore[arg-type]


def _finite(loss: float) -> float:
    return loss if loss < WORST else WORST  # also for NaN
