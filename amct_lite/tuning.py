"""A model for ONNX Runtime tuned on this machine: layers whose integer kernels are slower than the float ones go back to float,
where the whole model gains by it.

What is chosen depends on measured times, so it may differ from run to run; the configuration that comes with it gives the
same bytes without measuring.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from amct_lite import ir
from amct_lite.calibrated import Calibrated
from amct_lite.calibration.data import DataSource
from amct_lite.calibration.store import Statistics
from amct_lite.config import QuantConfig, format_config
from amct_lite.errors import CalibrationError, ConfigError
from amct_lite.pipeline import calibrate, settle, without_ruined
from amct_lite.plan import ORT
from amct_lite.result import QuantizeResult
from amct_lite.running import RunOptions
from amct_lite.runtime import RuntimeOptions
from amct_lite.search.islands import Attempt, Layers, LayerTime, leave_in_float
from amct_lite.types import Feeds
from amct_lite.validate.profile import kernel_times, layer_times
from amct_lite.validate.speed import compare_speed

REASON = "faster in float on the machine that tuned this (--tune)"


@dataclass(frozen=True)
class Tuned:
    """attempts: the races that were run. in_float: what they left in float, in the order of the network. config: what gives the
    same model without measuring."""

    result: QuantizeResult
    attempts: tuple[Attempt, ...]
    in_float: tuple[str, ...]
    config: QuantConfig

    def save(
        self, prefix: str | Path, *, inputs: Iterable[Path] = (), also: Mapping[str, str] | None = None
    ) -> tuple[Path, ...]:
        """`QuantizeResult.save`, and with it `<prefix>_config.json` and `<prefix>_tuning.json`."""
        texts = {"config.json": format_config(self.config, "json"), "tuning.json": self.to_json()}
        return self.result.save(prefix, inputs=inputs, also={**texts, **(also or {})})

    def to_json(self) -> str:
        """The races and what they left in float."""
        races = [{**asdict(attempt), "kept": attempt.kept} for attempt in self.attempts]
        subject = self.result.report.subject
        content = {"subject": asdict(subject) if subject else None, "in_float": self.in_float, "races": races}
        return json.dumps(content, indent=2) + "\n"


def tune(
    model: str | Path | ir.Model,
    data: DataSource | None = None,
    config: QuantConfig | None = None,
    *,
    statistics: str | Path | Statistics | None = None,
    options: RunOptions | None = None,
) -> Tuned:
    """`quantize` for the target ort, with those layers in float that make it faster here; those that fall back to float in any
    case are not timed. Nothing is written.

    The arguments are those of `quantize`. Raises ConfigError for another target, CalibrationError without a sample to run.
    """
    settings, chosen = config or QuantConfig(), options or RunOptions()
    if settings.target != ORT:
        raise ConfigError(f"only models for ONNX Runtime are tuned: the target is {settings.target}. Pass --target ort.")
    calibrated = calibrate(model, data, settings, statistics=statistics, options=chosen)
    if not calibrated.calibration.feeds:
        raise CalibrationError("models are timed on a sample: pass the data too, also with saved statistics.")
    sound, result = without_ruined(calibrated, chosen)
    sample, runtime = calibrated.calibration.feeds[0], chosen.runtime
    chosen.progress("tune", 0, None)
    names = [layer.name for layer in sound.plan.layers]
    times = _profile(sound.source.original, _exported(sound, frozenset()), names, sample, runtime)

    def race(now: Layers, then: Layers) -> float:
        return _compare(_exported(sound, now), _exported(sound, then), sample, runtime)

    attempts = leave_in_float(times, race)
    in_float = {name for attempt in attempts if attempt.kept for name in attempt.layers}
    again = None if statistics is not None else model
    accepted = _accepted(again, sound, frozenset(in_float), chosen)
    if in_float or result is None:
        result = settle(accepted, chosen)
    return Tuned(result, attempts, tuple(name for name in names if name in in_float), accepted.settings)


def _accepted(model: str | Path | ir.Model | None, calibrated: Calibrated, layers: Layers, options: RunOptions) -> Calibrated:
    """With `layers` in float: calibrated once more without them, as a run with the written configuration would be. Without a
    model to calibrate, or data that can be read again, the scales of the other layers stay as they are."""
    if not layers:
        return calibrated
    narrowed = calibrated.without(dict.fromkeys(layers, REASON))
    if model is None or calibrated.data is None or not calibrated.data.repeatable:
        return narrowed
    again = calibrate(model, calibrated.data, narrowed.settings, options=replace(options, checkpoint=None))
    told = {skip.node: skip for skip in narrowed.plan.skips}
    return replace(again, plan=replace(again.plan, skips=tuple(told.get(skip.node, skip) for skip in again.plan.skips)))


def _exported(calibrated: Calibrated, layers: Layers) -> ir.Model:
    """The model with `layers` in float, its biases as they are before they are settled: they take the same time."""
    exported = (calibrated.without(dict.fromkeys(layers, REASON)) if layers else calibrated).exports(ORT).deploy
    assert exported is not None, "a model for ONNX Runtime needs no static shapes"
    return exported


def _profile(
    exact: ir.Model, integer: ir.Model, names: Collection[str], sample: Feeds, runtime: RuntimeOptions
) -> Sequence[LayerTime]:
    """What the layers take in both models."""
    kernels = kernel_times([integer, exact], sample, runtime)
    taken = [
        layer_times([node for node in model.graph if node.name in names], found)
        for model, found in zip((integer, exact), kernels, strict=True)
    ]
    return [LayerTime(name, taken[0][name], taken[1][name]) for name in names if name in taken[0] and name in taken[1]]


def _compare(now: ir.Model, then: ir.Model, sample: Feeds, runtime: RuntimeOptions) -> float:
    """Time of the model then over that of the model now."""
    return compare_speed(now, then, [sample], runtime).ratio
