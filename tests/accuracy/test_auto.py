"""autocalibrate: what goes back to float, what it costs, how it goes on after an interruption."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from counted import PER_TENSOR, Fidelity, delicate
from small_nets import ONE_THREAD, images, net, saved

import amct_lite
from amct_lite import ir
from amct_lite.accuracy.auto import AutoCalibration
from amct_lite.config import Override, QuantConfig
from amct_lite.errors import CalibrationError, ConfigError, DataError
from amct_lite.types import Feeds


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return delicate(tmp_path_factory.mktemp("delicate"), conv2=20.0, conv4=20.0)


def run(model: Path, fidelity: object, **options: object) -> AutoCalibration:
    settings = {"max_loss": 25.0, "config": PER_TENSOR, "options": ONE_THREAD, **options}
    return amct_lite.autocalibrate(model, images(), fidelity, **settings)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def found(model: Path) -> AutoCalibration:
    return run(model, Fidelity(model))


def test_the_layers_that_suffer_go_back_to_float_and_no_other(found: AutoCalibration) -> None:
    assert set(found.in_float) == {"conv2", "conv4"}
    assert found.minimal
    assert found.history[-1].metric
    assert {row.name for row in found.result.report.layers} == {"conv1", "conv3"}
    reasons = {skip.node: skip.reason for skip in found.result.report.skips}
    assert reasons["conv2"] == "quantizing it costs too much of the metric (auto calibration)"


def test_every_call_is_counted_and_none_is_made_twice(model: Path) -> None:
    fidelity = Fidelity(model)
    found = run(model, fidelity)
    assert found.evaluations == len(fidelity.calls) == len(found.history)
    assert found.exports == found.evaluations - 1  # the float model is the user's own file
    assert fidelity.calls[0] == model.name
    assert all(name.endswith("fake_quant_model.onnx") for name in fidelity.calls[1:])
    tried = [trial.in_float for trial in found.history]
    assert len(set(tried)) == len(tried)
    assert found.evaluations <= 2 + 2 + 3 * 3  # float, everything quantized, bisection of 4 layers, 3 put back


def test_data_are_read_once(model: Path) -> None:
    read: list[int] = []

    def once() -> Iterator[Feeds]:
        for number, feeds in enumerate(images()):
            read.append(number)
            yield feeds

    found = amct_lite.autocalibrate(
        model, once(), Fidelity(model), max_loss=25.0, config=PER_TENSOR, options=ONE_THREAD
    )  # a generator can be read but once
    assert read == list(range(8))
    assert found.passes == 1
    assert found.in_float


def test_what_is_saved_is_what_was_evaluated(model: Path) -> None:
    written: dict[tuple[str, ...], bytes] = {}
    fidelity = Fidelity(model)

    def evaluate(path: str) -> float:
        last.append(Path(path).read_bytes())
        return fidelity(path)

    last: list[bytes] = []
    found = run(model, evaluate, on_trial=lambda trial: written.update({trial.in_float or (): last[-1]}))
    assert ir.to_bytes(found.result.exports.fake_quant) == written[found.in_float]


def test_the_saved_configuration_gives_the_same_bytes_without_a_search(
    found: AutoCalibration, model: Path, tmp_path: Path
) -> None:
    found.save(tmp_path / "net")
    again = amct_lite.quantize(model, statistics=tmp_path / "net_calibration.npz", config=tmp_path / "net_config.json")
    assert ir.to_bytes(again.exports.fake_quant) == (tmp_path / "net_fake_quant_model.onnx").read_bytes()
    told = json.loads((tmp_path / "net_autocalibration.json").read_text())
    assert told["in_float"] == list(found.in_float)
    assert [entry["metric"] for entry in told["history"]] == [trial.metric for trial in found.history]
    assert told["passes_over_the_data"] == 1


def test_a_layer_that_the_configuration_insists_on_is_left_out_all_the_same(model: Path) -> None:
    insisting = QuantConfig(per_channel="none", bias_correction="none", layers={"conv2": Override(skip=False)})
    found = run(model, Fidelity(model), config=insisting)
    assert "conv2" in found.in_float
    assert found.config.for_layer("conv2", "Conv").skip


def test_nothing_to_roll_back_takes_two_evaluations(tmp_path: Path) -> None:
    model = delicate(tmp_path)
    found = run(model, Fidelity(model), max_loss=40.0)
    assert (found.in_float, found.evaluations, found.exports) == ((), 2, 1)


class Stop(BaseException):
    """The machine is switched off."""


@pytest.mark.parametrize("after", [1, 2, 4])
def test_an_interrupted_run_goes_on_and_evaluates_nothing_twice(
    model: Path, found: AutoCalibration, tmp_path: Path, after: int
) -> None:
    fidelity = Fidelity(model)

    def evaluate(path: str) -> float:
        if stop and len(fidelity.calls) == after:
            raise Stop
        return fidelity(path)

    stop = True
    with pytest.raises(Stop):
        run(model, evaluate, journal=tmp_path / "journal")
    assert len(fidelity.calls) == after
    stop = False
    resumed = run(model, evaluate, journal=tmp_path / "journal")
    assert len(fidelity.calls) == found.evaluations
    assert resumed.evaluations == found.evaluations - after
    assert resumed.exports == max(found.exports - after + 1, 0)
    assert resumed.in_float == found.in_float
    assert [trial.resumed for trial in resumed.history] == [True] * after + [False] * (found.evaluations - after)
    assert not (tmp_path / "journal").exists()


def test_a_journal_of_other_scales_is_not_used(model: Path, tmp_path: Path) -> None:
    def broken(path: str) -> float:
        raise Stop if "in_float" in path else OSError

    with pytest.raises(DataError, match="OSError"):
        run(model, broken, journal=tmp_path / "journal")
    fidelity = Fidelity(model)
    run(model, fidelity, journal=tmp_path / "journal", config=QuantConfig(symmetric=True))
    assert fidelity.calls[0] == model.name


@pytest.mark.parametrize("limit", [2, 4])
def test_a_spent_limit_is_said(model: Path, limit: int) -> None:
    fidelity = Fidelity(model)
    if limit == 2:
        with pytest.raises(
            CalibrationError, match=r"the 2 evaluations that were allowed found no acceptable.*more evaluations"
        ):
            run(model, fidelity, max_evaluations=limit)
    else:
        found = run(model, fidelity, max_evaluations=limit)
        assert not found.minimal
        assert {"conv2", "conv4"} < set(found.in_float)
    assert len(fidelity.calls) == limit


def test_nothing_acceptable_is_an_error_with_the_smallest_loss(model: Path) -> None:
    with pytest.raises(
        CalibrationError, match=r"whichever of the 4 layers is quantized.*smallest loss was [\d.]+, with \d layer"
    ):
        run(model, Fidelity(model), max_loss=0.0)


def test_an_evaluator_that_refuses_the_float_model_is_told(model: Path) -> None:
    class Never:
        def evaluate(self, model_file: str) -> float:
            return 1.0

        def metric_eval(self, original_metric: float, new_metric: float) -> tuple[bool, float]:
            return False, 0.0

    with pytest.raises(
        DataError, match=r"test_auto\.py: metric_eval\(1\.0, 1\.0\) is not acceptable, so not even the float model"
    ):
        run(model, Never(), max_loss=None)


def test_an_error_metric_is_lower_is_better(model: Path) -> None:
    fidelity = Fidelity(model)
    found = run(model, lambda path: -fidelity(path), lower_is_better=True)
    assert set(found.in_float) == {"conv2", "conv4"}


def test_a_model_in_memory_is_evaluated_from_a_file(model: Path) -> None:
    loaded = ir.load(model).model
    found = run(loaded, Fidelity(model))  # type: ignore[arg-type]
    assert set(found.in_float) == {"conv2", "conv4"}


def test_statistics_still_need_samples_for_the_ranking(found: AutoCalibration, model: Path) -> None:
    with pytest.raises(CalibrationError, match="layers are ranked on samples"):
        amct_lite.autocalibrate(model, None, Fidelity(model), max_loss=25.0, statistics=found.result.statistics)
    again = run(model, Fidelity(model), statistics=found.result.statistics)
    assert again.in_float == found.in_float


def test_measured_bias_shifts_are_measured_for_each_candidate(tmp_path: Path) -> None:
    model = saved(net(), tmp_path)
    found = run(model, Fidelity(model), config=QuantConfig(bias_correction="full"), max_loss=20.0)
    assert found.config.bias_correction == "full"
    assert found.result.statistics is not None
    assert set(found.result.statistics.bias_shifts or {}) == {layer.key for layer in found.result.record.layers}


def test_wrong_options_are_told_before_anything_runs(model: Path) -> None:
    fidelity = Fidelity(model)
    with pytest.raises(ConfigError, match="unknown sensitivity 'cosine'"):
        run(model, fidelity, sensitivity="cosine")
    with pytest.raises(ConfigError, match="max_evaluations = 1 must be 2 or more"):
        run(model, fidelity, max_evaluations=1)
    assert fidelity.calls == []


def test_balanced_layers_are_searched_in_two_passes(tmp_path: Path) -> None:
    """The factors come from a pass of their own; what is saved is still what was evaluated."""
    model = delicate(tmp_path, conv2=20.0, conv4=20.0)
    written: list[bytes] = []
    fidelity = Fidelity(model)

    def evaluate(path: str) -> float:
        written.append(Path(path).read_bytes())
        return fidelity(path)

    balanced = QuantConfig(per_channel="none", bias_correction="analytic", balance=0.5)
    found = run(model, evaluate, config=balanced, max_loss=20.0)
    assert found.passes == 2
    assert found.in_float
    assert ir.to_bytes(found.result.exports.fake_quant) in written
