"""Layers and tensors of which 8 bits leave too little go back to float: what was measured of each alone says so."""

from __future__ import annotations

from dataclasses import dataclass

from amct_lite.calibrated import Calibrated
from amct_lite.reports.balancing import balance_options, better_balanced
from amct_lite.reports.report import Report
from amct_lite.types import QuantPlan

_BITS = 8
"""Who asks for fewer knows what they cost, and 16 are never too few."""
NOT_MEASURED = (
    "no samples are read, so it is not known which layers 8 bits ruin, and none falls back to float: pass --data, too."
)


@dataclass(frozen=True)
class Fallback:
    """What goes back: name of a layer, or key (`node:index`) of a tensor between layers, → why."""

    layers: dict[str, str]
    tensors: dict[str, str]

    def __bool__(self) -> bool:
        return bool(self.layers or self.tensors)


def fallback_of(calibrated: Calibrated, report: Report) -> Fallback:
    """What of `calibrated`, which `report` is about, has less than `settings.fallback` dB left and was not asked for by name.

    Nothing where that is every layer: then no few layers are to blame; and for 0, though noise may be above the signal. Nothing
    is measured where there are no samples, and noise is none. A layer whose balancing is folded into the one in front stays as
    it is.
    """
    settings, plan, statistics = calibrated.settings, calibrated.plan, calibrated.calibration.statistics
    asked = settings.fallback and not statistics.random
    known = {row.name: row.sqnr_db for row in report.layers} if asked else {}
    below = {name: db for name, db in known.items() if db is not None and db < settings.fallback}
    uneven = better_balanced(calibrated.source.prepared, statistics, below, plan.target)
    remedy = f": {balance_options(plan.target)} would help"
    poor = {name: _reason(db, settings.fallback) + (remedy if name in uneven else "") for name, db in below.items()}
    bound = statistics.balance.factors if statistics.balance and statistics.balance.fold else {}
    layers = {name: poor[name] for name in _plain(plan) if name in poor and name not in bound and not settings.insists_on(name)}
    between = (read for read in plan.reads if read.passed_on and not settings.insists_on(read.node))
    tensors = {read.key: poor[read.key] for read in between if read.key in poor}
    return Fallback(layers, tensors) if len(layers) < len(plan.layers) else Fallback({}, {})


def fallen_back(calibrated: Calibrated, fallback: Fallback) -> Calibrated:
    """`calibrated` with all of `fallback` in float, or in float16 where the settings say so."""
    types = {layer.name: layer.op_type for layer in calibrated.plan.layers}
    half = {name: why for name, why in fallback.layers.items() if calibrated.settings.in_half(name, types[name])}
    plain = {name: why for name, why in fallback.layers.items() if name not in half}
    narrowed = calibrated.without(plain, tensors=fallback.tensors)
    return narrowed.without(half, half=True) if half else narrowed


def _plain(plan: QuantPlan) -> list[str]:
    """The layers all of whose codes have 8 bits."""
    specs = ((layer.name, [*(tensor.spec for tensor in layer.inputs), layer.weight_spec]) for layer in plan.layers)
    return [name for name, found in specs if all(spec is None or spec.bits == _BITS for spec in found)]


def _reason(db: float, floor: float) -> str:
    return f"8 bits would leave its output {db:.1f} dB above the noise, less than {floor:g} (fallback)"
