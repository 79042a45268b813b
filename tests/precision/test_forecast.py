"""What a model is expected to lose: exact for one layer and for the same widths everywhere, in between by its share."""

from __future__ import annotations

from math import exp
from pathlib import Path

import pytest
from counted import delicate
from small_nets import ONE_THREAD, images

import amct_lite
from amct_lite import pipeline
from amct_lite.config import QuantConfig
from amct_lite.precision.forecast import Forecast, weighed
from amct_lite.precision.losses import loss_at, strength
from amct_lite.precision.space import offers_of
from amct_lite.precision.widths import Giver, floats_named, widths_named
from amct_lite.search.knapsack import Choice, Variable

STRENGTHS = {"W8A8": {"a": 0.01, "b": 0.03}, "W4A8": {"a": 0.2, "b": 0.6}, "float16": {"a": 1e-7, "b": 1e-7}}
FORECAST = Forecast(STRENGTHS, {"W8A8": 1.0, "W4A8": 0.25})


def test_alone_a_layer_loses_nearly_what_was_measured_and_all_together_what_was_measured_together() -> None:
    assert FORECAST({"a": "W8A8", "b": "float32"}) == pytest.approx(1 - exp(-0.01))
    assert FORECAST({"a": "W4A8", "b": "W4A8"}) == pytest.approx(1 - exp(-0.8 * 0.25))
    # a has a quarter of what all lose: 0.25 to the power of a quarter.
    assert FORECAST({"a": "W4A8", "b": "float16"}) == pytest.approx(1 - exp(-0.2 * 0.25**0.25 - 1e-7))
    assert FORECAST({"a": "float32", "b": "float32"}) == 0.0


def test_without_gains_strengths_add_up() -> None:
    assert Forecast(STRENGTHS, {})({"a": "W4A8", "b": "W8A8"}) == pytest.approx(1 - exp(-0.23))


def test_the_strength_of_a_small_loss_is_the_loss_and_a_large_one_saturates() -> None:
    assert strength(1e-9) == pytest.approx(1e-9, rel=1e-6)
    assert [loss_at(strength(loss)) for loss in (0.0, 0.1, 0.9)] == pytest.approx([0.0, 0.1, 0.9])
    # Two layers that leave 90 % of the signal each leave 81 %.
    assert loss_at(2 * strength(0.1)) == pytest.approx(0.19)
    assert strength(0.9) < strength(1.0) < strength(2.0) < strength(1e6)


def test_factors_weigh_the_losses_of_the_choices() -> None:
    factors = FORECAST.factors({"a": "W4A8", "b": "W4A8"})
    assert factors == {"W8A8": 1.0, "W4A8": 0.25, "float16": 1.0}
    variable = Variable(("a",), (Choice("float32", 9, 0.0), Choice("W8A8", 4, 0.01), Choice("W4A8", 2, 0.2)))
    assert [choice.loss for choice in weighed([variable], factors)[0].choices] == [0.0, 0.01, pytest.approx(0.05)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return delicate(tmp_path_factory.mktemp("delicate"))


def test_the_forecast_of_the_same_widths_everywhere_is_what_they_lose(model: Path) -> None:
    config = QuantConfig(target="generic", bias_correction="analytic")
    found = amct_lite.search_precision(
        model, images(), "bitops=0.2", config=config, options=ONE_THREAD, widths=("W8A8", "W4A8")
    )
    measured = {strategy.name: strategy.measured for strategy in found.strategies}
    for name in ("all W8A8", "all W4A8"):
        assert measured[name].estimate == pytest.approx(measured[name].loss, rel=1e-6)
    # Between them it is a forecast: within 3 dB here.
    assert measured["mixed"].loss / 2 <= measured["mixed"].estimate <= measured["mixed"].loss * 2


def test_learned_roundings_are_those_of_a_layer_alone(model: Path) -> None:
    """A layer that no other stands in front of learns the same in both ways; one behind others does not."""
    base = pipeline.calibrate(model, images(), QuantConfig(target="generic"), options=ONE_THREAD)
    giver = Giver(base, "gptq", ONE_THREAD.runtime)
    (widths,) = widths_named(("W4A8",))
    everywhere = {layer.name: widths for layer in base.plan.layers}
    alone = giver.learned(giver.decided(everywhere), apart=True).calibration.statistics.roundings
    together = giver.give(everywhere).calibration.statistics.roundings
    only_last = giver.give({**dict.fromkeys(everywhere, floats_named((), "generic")[0]), "conv4": widths})
    assert (alone["conv1"].moves == together["conv1"].moves).all()
    assert (alone["conv4"].moves == only_last.calibration.statistics.roundings["conv4"].moves).all()
    assert (alone["conv4"].moves != together["conv4"].moves).any()
    offered = offers_of(giver, floats_named((), "generic"), (widths,)).learned(giver).uniform["W4A8"]
    assert (offered.calibration.statistics.roundings["conv4"].moves == alone["conv4"].moves).all()
