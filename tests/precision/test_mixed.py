"""search_precision on small nets: costs by hand, the choice against trying everything, what is exported, what goes wrong."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from counted import Fidelity, delicate
from small_nets import ONE_THREAD, images, net, saved

import amct_lite
from amct_lite import pipeline
from amct_lite.analysis.candidates import Scales
from amct_lite.analysis.sensitivity import measure_sensitivity
from amct_lite.config import QuantConfig
from amct_lite.errors import CalibrationError, ConfigError, DataError
from amct_lite.precision import mixed
from amct_lite.precision.costs import Meter
from amct_lite.precision.measured import Bench, Measured
from amct_lite.precision.outcome import Found
from amct_lite.precision.space import agreeing, offers_of
from amct_lite.precision.widths import Giver, floats_named, widths_named
from amct_lite.types import QuantRecord

GENERIC = QuantConfig(target="generic", per_channel="none", bias_correction="analytic")
SIMPLE = {"config": GENERIC, "options": ONE_THREAD, "rounding": None, "widths": ("float32", "W8A8", "W4A8")}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return delicate(tmp_path_factory.mktemp("delicate"), conv2=20.0, conv4=20.0)


def search(model: Path, budget: str, **options: object) -> Found:
    return amct_lite.search_precision(model, images(), budget, **{**SIMPLE, **options})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def found(model: Path) -> Found:
    return search(model, "bitops=2.1")


def giver_of(model: Path) -> Giver:
    return Giver(pipeline.calibrate(model, images(), GENERIC, options=ONE_THREAD), None, ONE_THREAD.runtime)


def test_costs_are_those_worked_by_hand(model: Path) -> None:
    # conv3: 1 x 1, 8 to 8 channels, 16 x 16 positions: (2·8 - 1 + 1) · 256 · 8 = 32,768 FLOPs; 64 weights, 8 biases of int32.
    offers = offers_of(giver_of(model), floats_named(("float32",), "generic"), widths_named(("W8A8", "W4A8")))
    meter = Meter(offers.uniform["W8A8"].source.prepared, {"x": (1, 3, 16, 16)}, 32)
    in_float = meter.layers(QuantRecord(()), {"conv3": 16})["conv3"]
    costs = {name: meter.layers(given.decision.record, {})["conv3"] for name, given in offers.uniform.items()}
    assert in_float == {"bitops": 32_768 * 256, "bytes": 2 * (64 + 8)}
    assert costs == {
        "W8A8": {"bitops": 32_768 * 64, "bytes": 64 + 4 * 8},
        "W4A8": {"bitops": 32_768 * 32, "bytes": 32 + 4 * 8},
    }


def test_the_layers_that_suffer_stay_in_float_and_the_model_is_brought_back(found: Found) -> None:
    plain = next(strategy.measured for strategy in found.strategies if strategy.name == "all W8A8")
    assert plain.sqnr_db < 20  # one scale for weights of 20 and of 0.3
    assert found.chosen.picks["conv2"] == found.chosen.picks["conv4"] == "float32"
    assert found.chosen.sqnr_db > plain.sqnr_db + 10


def test_the_budget_is_kept_and_the_record_says_what_was_chosen(found: Found) -> None:
    assert found.chosen.bitops <= 2.1 * found.prices.whole
    entries = found.result.record.by_key
    for layer, widths in found.chosen.picks.items():
        if widths == "float32":
            assert layer not in entries
        else:
            assert f"W{entries[layer].weight.bits}A{entries[layer].activation.bits}" == widths  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def every_point(model: Path) -> list[Measured]:
    """All 81 models with float32, W8A8 or W4A8 for each layer, measured."""
    giver = giver_of(model)
    offers = offers_of(giver, floats_named(("float32",), "generic"), widths_named(("W8A8", "W4A8")))
    meter = Meter(giver.base.source.prepared, {"x": (1, 3, 16, 16)}, 32)
    losses = {name: dict.fromkeys(layers, 1.0) for name, layers in offers.layers.items()}
    bench = Bench(giver, meter, offers, losses, None, None, None)  # type: ignore[arg-type]
    names = [layer.name for layer in offers.plan.layers]
    choices = itertools.product(offers.widths, repeat=len(names))
    return [bench.measure("one of all", dict(zip(names, choice, strict=True))) for choice in choices]


def test_no_other_choice_within_the_budget_is_clearly_better_when_all_are_measured(
    found: Found, every_point: list[Measured]
) -> None:
    best = min(point.loss for point in every_point if point.bitops <= 2.1 * found.prices.whole)
    # Losses that were measured alone add up only nearly: within 3 dB of the best of all 81.
    assert best <= found.chosen.loss <= 2 * best


def test_neighbours_lie_on_the_front_on_either_side(found: Found) -> None:
    assert found.cheaper is not None
    assert found.dearer is not None
    assert found.cheaper.bitops < found.chosen.bitops < found.dearer.bitops
    assert found.cheaper.estimate > found.chosen.estimate > found.dearer.estimate


def test_the_written_configuration_gives_the_same_models_without_a_search(found: Found, model: Path, tmp_path: Path) -> None:
    written = {path.name: path for path in found.save(tmp_path / "m")}
    assert json.loads(written["m_search.json"].read_text())["chosen"]["widths"] == found.chosen.picks
    again = amct_lite.quantize(model, images(), str(written["m_config.json"]), options=ONE_THREAD)
    again.save(tmp_path / "again")
    for suffix in ("record.txt", "fake_quant_model.onnx"):
        assert (tmp_path / f"again_{suffix}").read_bytes() == written[f"m_{suffix}"].read_bytes()


def test_a_search_gives_the_same_bytes_twice(found: Found, model: Path) -> None:
    assert search(model, "bitops=2.1").to_json() == found.to_json()


def test_a_budget_of_bytes_counts_weights(model: Path) -> None:
    found = search(model, "bytes=0.3")
    assert found.chosen.weight_bytes <= 0.3 * found.prices.whole
    assert found.prices.what == "bytes"


def test_a_budget_that_cannot_be_met_names_the_smallest_that_can(model: Path) -> None:
    with pytest.raises(ConfigError, match=r"bitops=0.01 .* cannot be met: the smallest that can is bitops=0\.125 "):
        search(model, "bitops=0.01")
    assert search(model, "bitops=0.125").chosen.counts == {"W4A8": 4}


@pytest.mark.parametrize("budget", ["bitops=0.01", "bytes=0.01"])
def test_a_budget_that_cannot_be_met_is_refused_before_anything_is_learned_or_measured(
    model: Path, budget: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_late(*_given: object, **_options: object) -> None:
        raise AssertionError("nothing was to be learned or measured any more")

    monkeypatch.setattr(Giver, "learned", too_late)
    monkeypatch.setattr(mixed, "network_losses", too_late)
    with pytest.raises(ConfigError, match=r"cannot be met: the smallest that can is"):
        search(model, budget, rounding="gptq")


def test_a_budget_that_takes_everything_in_float_is_refused(model: Path) -> None:
    with pytest.raises(ConfigError, match="leaves every layer in float, which costs bitops=4"):
        search(model, "bitops=1e12")


def test_the_cheapest_point_that_keeps_the_metric_is_taken(model: Path) -> None:
    fidelity = Fidelity(model)
    found = search(model, "max-loss=35", evaluate=fidelity, lower_is_better=False)  # of 60 dB
    assert found.chosen.acceptable
    assert found.cheaper is not None
    assert not found.cheaper.acceptable
    assert found.evaluations == len(fidelity.calls)


def test_a_bound_on_the_loss_decides_also_for_an_evaluator_with_a_metric_eval(model: Path) -> None:
    class Strict:
        evaluate = staticmethod(Fidelity(model))

        @staticmethod
        def metric_eval(original: float, new: float) -> tuple[bool, float]:
            return False, original - new

    assert search(model, "max-loss=35", evaluate=Strict()).chosen.acceptable
    assert search(model, "bitops=2.1", evaluate=Strict()).chosen.acceptable is False  # told, and no more


def test_without_an_evaluator_the_loss_is_that_of_the_outputs(model: Path) -> None:
    found = search(model, "max-loss=0.001")
    assert found.chosen.loss <= 0.001 < found.cheaper.loss  # type: ignore[union-attr]


@pytest.mark.parametrize("bound", [0.3, 0.02, 0.002])
def test_the_cost_is_nearly_the_least_of_all_that_keep_the_loss_when_they_are_measured(
    model: Path, bound: float, every_point: list[Measured]
) -> None:
    found = search(model, f"max-loss={bound}")
    quantized = [point for point in every_point if set(point.picks.values()) != {"float32"}]
    least = min(point.bitops for point in quantized if point.loss <= bound)
    assert found.chosen.loss <= bound
    assert found.chosen.bitops <= 1.1 * least  # one layer of four more would be a quarter


def test_a_loss_that_no_point_keeps_is_told_with_the_smallest_one(model: Path) -> None:
    with pytest.raises(CalibrationError, match=r"The point next to float loses .* \(error over signal\)"):
        search(model, "max-loss=0")


def test_losses_come_from_a_file_and_belong_to_its_layers(found: Found, model: Path, tmp_path: Path) -> None:
    file = tmp_path / "m_search.json"
    file.write_text(found.to_json())
    assert search(model, "bitops=2.1", sensitivity=file).chosen == found.chosen
    with pytest.raises(ConfigError, match=r"has no losses for W4A4 .*; it has W8A8, W4A8"):
        search(model, "bitops=2.1", sensitivity=file, widths=("float32", "W4A4"))
    renamed = json.loads(found.to_json().replace("conv3", "other"))
    file.write_text(json.dumps(renamed))
    with pytest.raises(ConfigError, match=r"says nothing of layer 'conv3' with W8A8.*another model"):
        search(model, "bitops=2.1", sensitivity=file)
    of_another = {**json.loads(found.to_json()), "subject": {"model": "0" * 64, "record": None, "exported": None}}
    file.write_text(json.dumps(of_another))
    with pytest.raises(ConfigError, match=r"m_search\.json was measured with another float model"):
        search(model, "bitops=2.1", sensitivity=file)
    file.write_text('{"effects": [{"layer": "conv1"}]}')
    with pytest.raises(ConfigError, match="holds no losses of layers"):
        search(model, "bitops=2.1", sensitivity=file)


def test_a_sensitivity_analysis_gives_the_losses(model: Path, tmp_path: Path) -> None:
    base = giver_of(model).base
    analysed = measure_sensitivity(
        *(base.source.prepared, Scales(base.decision.record, base.plan, base.usable), base.calibration.feeds),
        candidates=("W8A8", "W4A8"),
        method="exact",
    )
    file = tmp_path / "sensitivity.json"
    file.write_text(analysed.to_json(), encoding="utf-8")
    found = search(model, "bitops=2.1", sensitivity=file)
    assert found.losses["W4A8"] == analysed.damages("W4A8")
    assert found.chosen.picks == search(model, "bitops=2.1", sensitivity="exact").chosen.picks


def test_local_losses_are_the_errors_of_the_layers_own_outputs(model: Path) -> None:
    found = search(model, "bitops=2.1", sensitivity="local")
    errors = {row.name: row.sqnr_db for row in found.result.report.layers}
    assert found.losses["W8A8"]["conv1"] == pytest.approx(10 ** (-errors["conv1"] / 10), rel=0.5)  # type: ignore[operator]


def test_layers_that_read_one_tensor_get_the_same_widths(tmp_path: Path) -> None:
    text = """net (float[N,3,16,16] x) => (float[N,8,16,16] y) {
      [left] a = Conv<pads = [1,1,1,1]>(x, w1, b1)
      [right] b = Conv<pads = [1,1,1,1]>(x, w5, b1)
      [add] c = Add(a, b)
      [last] y = Conv(c, w3, b3)
    }"""
    path = saved(net(text, w5=(8, 3, 3, 3)), tmp_path)
    plan = pipeline.calibrate(path, images(), GENERIC, options=ONE_THREAD).plan
    assert agreeing(plan) == [{"left", "right"}]
    found = search(path, "bitops=1.2", widths=("float32", "W8A8", "W4A8", "W8A16"))
    assert found.together == (("left", "right"),)
    assert found.chosen.picks["left"] == found.chosen.picks["right"]
    with pytest.raises(ConfigError, match="left, right read the same data or weight"):
        search(path, "bitops=0.5", limits={"left": ("W8A8",), "right": ("float",)})


def test_limits_hold(model: Path) -> None:
    found = search(model, "bitops=2", limits={"conv?": ("W4A8", "float"), "conv2": ("W8A8",)})
    assert found.chosen.picks["conv2"] == "W8A8"
    assert set(found.chosen.picks.values()) <= {"W8A8", "W4A8", "float32"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limits": {"conv9": ("W8A8",)}}, "no layer of the search matches 'conv9' .did you mean"),
        ({"limits": {"conv1": ("W8A16",)}}, "layer 'conv1' is limited to W8A16; it can have float32, W8A8, W4A8"),
        ({"widths": ("W8B8",)}, "widths 'W8B8' are not known .did you mean 'W8A8'"),
        ({"widths": ("float",)}, "nothing to choose from but float"),
        ({"sensitivity": "exakt"}, "'exakt' is not known .did you mean 'exact'"),
    ],
)
def test_what_is_not_there_is_refused(model: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        search(model, "bitops=2.1", **options)


def test_without_samples_there_are_no_losses(model: Path) -> None:
    saved_statistics = pipeline.calibrate(model, images(), GENERIC, options=ONE_THREAD).calibration.statistics
    with pytest.raises(CalibrationError, match="pass the data too"):
        amct_lite.search_precision(model, None, "bitops=2.1", statistics=saved_statistics, **SIMPLE)  # type: ignore[arg-type]


def test_an_interrupted_search_goes_on_where_it_stopped(model: Path, tmp_path: Path) -> None:
    journal, fidelity = tmp_path / "journal.jsonl", Fidelity(model)

    class Stopping:
        calls = 0

        def __call__(self, path: str) -> float:
            self.calls += 1
            if self.calls == 3:
                raise KeyboardInterrupt
            return fidelity(path)

    whole = search(model, "bitops=2.1", evaluate=fidelity)
    told: list[str] = []
    stopping = Stopping()
    with pytest.raises(KeyboardInterrupt):
        search(model, "bitops=2.1", evaluate=stopping, journal=journal)
    stopping.calls = 10
    again = search(
        model,
        "bitops=2.1",
        evaluate=stopping,
        journal=journal,
        on_measured=lambda name, point: told.append(name) if point.resumed else None,
    )
    assert told == ["mixed"]  # the second call: the first one was for the float model
    assert again.evaluations == whole.evaluations - 2
    assert again.to_json().replace(f'"evaluations": {again.evaluations}', "") == whole.to_json().replace(
        f'"evaluations": {whole.evaluations}', ""
    )
    assert not journal.exists()


def test_losses_of_an_interrupted_search_are_kept_however_they_were_measured(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of W8A8, of four layers, are estimated, those of W4A8, of three, measured exactly."""
    monkeypatch.setattr("amct_lite.analysis.sensitivity.EXACT_UP_TO", 3)
    steps: list[str] = []

    def stop(stage: str, done: int, _total: int | None) -> None:
        steps.append(stage)
        if stage == "W4A8: network" and done:
            raise KeyboardInterrupt

    asked: dict[str, object] = {"limits": {"conv1": ("W8A8", "float")}, "journal": tmp_path / "journal.jsonl"}
    with pytest.raises(KeyboardInterrupt):
        search(model, "bitops=2.1", options=replace(ONE_THREAD, progress=stop), **asked)
    assert "W8A8: probes" in steps
    steps.clear()
    search(model, "bitops=2.1", options=replace(ONE_THREAD, progress=lambda stage, *_rest: steps.append(stage)), **asked)
    assert "W4A8: network" in steps
    assert "W8A8: probes" not in steps
    assert list(tmp_path.iterdir()) == []


def test_four_bits_are_rounded_by_what_was_learned(model: Path) -> None:
    found = search(model, "bitops=0.2", rounding="gptq")
    narrow = [layer for layer, widths in found.chosen.picks.items() if widths == "W4A8"]
    assert narrow
    assert {found.config.layers[layer].weight_algorithm for layer in narrow} == {"gptq"}


def test_an_evaluator_that_fails_is_to_blame(model: Path) -> None:
    with pytest.raises(DataError, match=r"test_mixed\.py"):
        search(model, "bitops=2.1", evaluate=lambda _path: "good")


@pytest.mark.parametrize("budget", ["bytes=0.5", "bitops=0.5", "max-loss=0.1"])
def test_a_model_without_weights_has_nothing_to_choose_by(budget: str, tmp_path: Path) -> None:
    text = "net (float[1,3,16,16] x) => (float[1,3,8,8] y) { y = AveragePool<kernel_shape = [2,2], strides = [2,2]>(x) }"
    with pytest.raises(
        ConfigError, match=r"chooses widths by (bytes|bitops), of which this model has none.*amct-lite calibrate"
    ):
        search(saved(net(text), tmp_path), budget)


@pytest.fixture(scope="module")
def embedding(tmp_path_factory: pytest.TempPathFactory) -> Path:
    text = "net (int64[2,7] ids) => (float[2,7,16] y) { [embed] e = Gather (table, ids) t = Tanh (e) [fc] y = MatMul (t, w) }"
    return saved(net(text, table=(1500, 48), w=(48, 16)), tmp_path_factory.mktemp("embedding"))


def search_words(model: Path, budget: str, **options: object) -> dict[str, str]:
    ids = np.random.default_rng(2).integers(0, 1500, (8, 2, 7))
    config = QuantConfig(target="ort", bias_correction="analytic")
    found = amct_lite.search_precision(
        *(model, [{"ids": batch} for batch in ids], budget), **{**SIMPLE, "config": config, **options}
    )
    return dict(found.chosen.picks)


@pytest.mark.parametrize(
    ("budget", "options", "picks"),
    [
        ("bitops=0.5", {}, {"embed": "W8A8", "fc": "W8A8"}),
        ("bitops=4", {}, {"embed": "W8A8", "fc": "float32"}),  # in float it would cost no less
        ("bitops=0.5", {"widths": ("W4A8",)}, {"embed": "float32", "fc": "W4A8"}),  # nor do 4 bits
        ("bitops=0.5", {"limits": {"embed": ("float",)}}, {"embed": "float32", "fc": "W8A8"}),
        ("max-loss=0.0001", {"widths": ("W8A8",)}, {"embed": "float32", "fc": "W8A8"}),  # here it is the loss that is scarce
        ("bytes=0.26", {"widths": ("W8A8",)}, {"embed": "W8A8", "fc": "float32"}),
    ],
)
def test_a_table_is_never_left_in_float_for_bit_operations_that_it_has_not(
    embedding: Path, budget: str, options: dict[str, object], picks: dict[str, str]
) -> None:
    assert search_words(embedding, budget, **options) == picks
