"""What users compare: the float model, the same widths for all layers, and the mixed ones, side by side."""

from __future__ import annotations

from collections.abc import Mapping

from amct_lite import ir
from amct_lite.calibrated import Calibrated
from amct_lite.plan import ORT
from amct_lite.precision.forecast import Picks
from amct_lite.precision.measured import Bench, Measured
from amct_lite.precision.outcome import Strategy
from amct_lite.precision.space import Offers
from amct_lite.precision.widths import FLOAT16, FLOAT32
from amct_lite.validate.speed import run_times, undisturbed

UNIFORM = ("W8A8", "W4A8")


def to_compare(offers: Offers) -> dict[str, Picks]:
    """The float model as it is and in float16, `UNIFORM` as far as they are offered (where a layer cannot have 4 bits, with
    8)."""
    named: dict[str, Picks] = {FLOAT32.name: {layer.name: FLOAT32.name for layer in offers.plan.layers}}
    named |= {FLOAT16.name: offers.everywhere(FLOAT16.name)} if FLOAT16 in offers.floats else {}
    return named | {f"all {name}": offers.everywhere(name, "W8A8") for name in UNIFORM if name in offers.uniform}


def side_by_side(bench: Bench, mixed: Measured) -> tuple[Strategy, ...]:
    """What is `to_compare`, and mixed."""
    measured = {name: bench.measure(name, picks) for name, picks in to_compare(bench.offers).items()} | {"mixed": mixed}
    integers = {FLOAT32.name, "W8A8"}
    everything = bench.giver.base.settings.target == ORT  # which has integer kernels for all that it offers
    fast = {name: found for name, found in measured.items() if everything or set(found.picks.values()) <= integers}
    models, sample = _models(bench, fast), bench.calibrated(mixed.picks).calibration.feeds[0]
    times = dict(zip(models, map(undisturbed, run_times(list(models.values()), sample, bench.giver.runtime)), strict=True))
    return tuple(Strategy(name, found, times.get(name)) for name, found in measured.items())


def _models(bench: Bench, points: Mapping[str, Measured]) -> dict[str, ir.Model]:
    models = {}
    for name, found in points.items():
        given = bench.calibrated(found.picks)
        models[name] = _fastest(given) if given.decision.record.layers else given.source.prepared
    return models


def _fastest(given: Calibrated) -> ir.Model:
    """The model of the target where that is ONNX Runtime, else the fake-quant model."""
    exports = given.exports(ORT if given.settings.target == ORT else "generic")
    return exports.deploy or exports.fake_quant
