"""accuracy_based_auto_calibration: AMCT's evaluators, strategies, sensitivities and files."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from amct_evaluator import FourSamples
from counted import Fidelity, delicate
from small_nets import images

import amct_lite as amct
from amct_lite.calibration import store
from amct_lite.common.auto_calibration import AutoCalibrationStrategyBase, SensitivityBase
from amct_lite.errors import AmctError, CalibrationError, ConfigError, DataError
from amct_lite.workers import LocalProcesses, Workers

NAME = "accuracy_based_auto_calibration"


class Evaluator(FourSamples):
    """25 dB may be lost."""

    def metric_eval(self, original_metric: float, new_metric: float) -> tuple[bool, float]:
        loss = original_metric - new_metric
        return loss <= 25, loss


class Stock(Evaluator):
    """The same with ONNX Runtime's own session."""

    def calibration(self, modified_model_file: str) -> None:
        self.calibrations += 1
        session = onnxruntime.InferenceSession(modified_model_file, amct.AMCT_SO)
        for feeds in images(4):
            session.run(None, feeds)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """conv2 and conv4 suffer."""
    path = delicate(tmp_path, conv2=20.0, conv4=20.0)
    write_config(path)
    return path


def write_config(model: Path, **more: object) -> None:
    """One scale for each weight, beside the model."""
    config = model.parent / "config.json"
    amct.create_quant_config(config, model, batch_num=4)
    content = json.loads(config.read_text())
    for layer in (table for table in content.values() if isinstance(table, dict)):
        layer["weight_quant_params"]["channel_wise"] = False
    config.write_text(json.dumps({**content, **more}))


def run(model: Path, evaluator: object, save_dir: str = "out/net", **given: Any) -> Path:
    folder = model.parent
    files = (folder / "config.json", folder / "record.txt", f"{folder}/{save_dir}")
    amct.accuracy_based_auto_calibration(model, evaluator, *files, **given)  # type: ignore[arg-type]
    return folder / "out"


def read(path: Path) -> Any:
    return json.loads(path.read_text())


class Away(Evaluator):
    """Notes in a file who evaluates."""

    def __init__(self, model: Path) -> None:
        super().__init__(model)
        self.seen = model.parent / "seen"

    def evaluate(self, model_file: str) -> float:
        with self.seen.open("a") as seen:
            seen.write(f"{os.getpid()}\n")
        return super().evaluate(model_file)


def test_workers_evaluate_and_change_no_file(model: Path) -> None:
    names = [path.relative_to(model.parent / "out") for path in run(model, Away(model)).rglob("*.*")]
    record = model.parent / "record.txt"
    alone = {name: (model.parent / "out" / name).read_bytes() for name in names} | {record: record.read_bytes()}
    assert set((model.parent / "seen").read_text().split()) == {str(os.getpid())}
    (model.parent / "seen").unlink()
    with LocalProcesses(2) as workers:
        out = run(model, Away(model), workers=workers)
    assert {name: (out / name).read_bytes() for name in names} | {record: record.read_bytes()} == alone
    assert str(os.getpid()) not in (model.parent / "seen").read_text().split()


def test_what_workers_cannot_do_is_refused_before_anything_runs(model: Path) -> None:
    class Local(Evaluator):
        pass

    with ThreadPoolExecutor(1) as executor:
        workers = Workers(executor, count=1)
        with pytest.raises(ConfigError, match=r"the strategy FromTheTop names one candidate at a time, .* choose BinarySearch"):
            run(model, Evaluator(model), strategy=FromTheTop(), workers=workers)
        with pytest.raises(ConfigError, match="the evaluator Local cannot be sent to workers"):
            run(model, Local(model), workers=workers)
    assert not (model.parent / "record.txt").exists()


@pytest.mark.parametrize("kind", [Evaluator, Stock])
def test_amcts_files_say_what_was_found(model: Path, kind: Callable[[Path], Evaluator]) -> None:
    if kind is Stock and importlib.util.find_spec("onnxruntime_extensions") is None:
        pytest.skip("onnxruntime-extensions is not installed")
    before = (model.parent / "config.json").read_bytes()
    evaluator = kind(model)
    out = run(model, evaluator)
    assert (model.parent / "config.json").read_bytes() == before
    assert {file.name for file in out.iterdir()} == {
        *("net_deploy_model.onnx", "net_fake_quant_model.onnx", "net_quant.json", "amct_log"),
        *(f"{NAME}_ranking_information.json", f"{NAME}_final_config.json"),
    }
    ranking = read(out / f"{NAME}_ranking_information.json")
    assert {layer for layer, _ in ranking} == {"conv1", "conv2", "conv3", "conv4"}
    assert [score for _, score in ranking] == sorted(score for _, score in ranking)
    final, given = read(out / f"{NAME}_final_config.json"), json.loads(before)
    assert {layer for layer, _ in ranking if not final[layer]["quant_enable"]} == {"conv2", "conv4"}
    for layer in ("conv2", "conv4"):
        final[layer]["quant_enable"] = True
    assert final == given
    history = read(out / "amct_log" / f"{NAME}_record.json")
    assert history[0]["roll_back_config"] == {layer: True for layer, _ in ranking}
    assert history[0]["metric_eval"][0] is False
    assert any(not any(entry["roll_back_config"][layer] for layer in ("conv2", "conv4")) for entry in history)
    assert evaluator.calibrations == 1
    assert len(evaluator.fidelity.calls) == len(history) + 1


class Elsewhere(Evaluator):
    """The same in a process of its own."""

    def calibration(self, modified_model_file: str) -> None:
        data = Path(modified_model_file).with_name("x.npz")
        np.savez(data, *(feeds["x"] for feeds in images(4)))
        script = (
            "import sys, numpy as np, amct_lite as amct; session = amct.CalibrationSession(sys.argv[1])\n"
            "for x in np.load(sys.argv[2]).values(): session.run(None, {'x': x})"
        )
        subprocess.run([sys.executable, "-c", script, modified_model_file, str(data)], check=True)


def test_calibration_may_run_in_another_process(model: Path) -> None:
    first = run(model, Evaluator(model))
    files = {file.name: file.read_bytes() for file in first.iterdir() if file.is_file()}
    run(model, Elsewhere(model))
    assert {file.name: file.read_bytes() for file in first.iterdir() if file.is_file()} == files
    assert not (model.parent / "record.txt.samples").exists()


def test_learned_roundings_are_in_every_candidate_and_in_the_result(model: Path) -> None:
    plain = run(model, Evaluator(model))
    nearest = (plain / "net_deploy_model.onnx").read_bytes()
    config = json.loads((model.parent / "config.json").read_text())
    for layer in (table for table in config.values() if isinstance(table, dict)):
        layer["weight_quant_params"] |= {"wts_algo": "ada_quantize", "num_iteration": 60}
    (model.parent / "config.json").write_text(json.dumps(config))
    out = run(model, Evaluator(model))
    roundings = store.load(model.parent / "record.txt.calibration.npz").roundings
    assert roundings
    learned = (out / "net_deploy_model.onnx").read_bytes()
    assert learned != nearest
    amct.convert_model(model, model.parent / "record.txt", out / "again")
    assert (out / "again_deploy_model.onnx").read_bytes() == learned


def test_both_kinds_of_session_give_the_same_bytes(model: Path) -> None:
    pytest.importorskip("onnxruntime_extensions")
    first = run(model, Evaluator(model))
    files = {file.name: file.read_bytes() for file in first.iterdir() if file.is_file()}
    run(model, Stock(model))
    assert {file.name: file.read_bytes() for file in first.iterdir() if file.is_file()} == files


def test_record_and_models_agree_and_are_the_accepted_ones(model: Path) -> None:
    last: dict[str, bytes] = {}

    class Keeping(Evaluator):
        def evaluate(self, model_file: str) -> float:
            metric = super().evaluate(model_file)
            last[f"{metric:.9f}"] = Path(model_file).read_bytes()
            return metric

    out = run(model, Keeping(model))
    record = amct.read_record(model.parent / "record.txt")
    assert set(record.by_key) == {"conv1", "conv3"}
    saved = out / "net_fake_quant_model.onnx"
    assert last[f"{Fidelity(model)(str(saved)):.9f}"] == saved.read_bytes()
    weights = {
        w.name for w in onnx.load(out / "net_deploy_model.onnx").graph.initializer if w.data_type == onnx.TensorProto.INT8
    }
    assert len(weights) == 2


def test_a_folder_as_save_dir(model: Path) -> None:
    out = run(model, Evaluator(model), "out/")
    assert (out / "fake_quant_model.onnx").is_file()
    assert (out / f"{NAME}_final_config.json").is_file()
    assert (model.parent / "amct_log" / f"{NAME}_record.json").is_file()


class FromTheTop(AutoCalibrationStrategyBase):
    """One more layer of the ranking in float each time, until it is acceptable."""

    def initialize(self, ranking_info: dict[str, float]) -> None:
        assert list(ranking_info.values()) == sorted(ranking_info.values())
        self.quantized = dict.fromkeys(ranking_info, True)

    def update_quant_config(self, metric_eval: tuple[bool, float]) -> dict[str, Any]:
        if not metric_eval[0]:
            self.quantized[next(layer for layer, quantized in self.quantized.items() if quantized)] = False
        return {"stop_flag": metric_eval[0], "roll_back_config": dict(self.quantized)}


def test_a_strategy_of_the_users_decides(model: Path) -> None:
    out = run(model, Evaluator(model), strategy=FromTheTop())
    history = read(out / "amct_log" / f"{NAME}_record.json")
    counts = [list(entry["roll_back_config"].values()).count(False) for entry in history]
    assert counts == list(range(len(counts)))
    final = read(out / f"{NAME}_final_config.json")
    left = [layer for layer, _ in read(out / f"{NAME}_ranking_information.json") if not final[layer]["quant_enable"]]
    assert len(left) == counts[-1]
    assert {"conv2", "conv4"} <= set(left)


def test_a_strategy_that_ends_badly_gives_the_best_that_was_seen(model: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Turning(FromTheTop):
        def update_quant_config(self, metric_eval: tuple[bool, float]) -> dict[str, Any]:
            if metric_eval[0]:
                return {"stop_flag": True, "roll_back_config": dict.fromkeys(self.quantized, True)}
            return super().update_quant_config(metric_eval)

    out = run(model, Evaluator(model), strategy=Turning())
    assert "ended with a candidate that is not acceptable" in caplog.text
    final = read(out / f"{NAME}_final_config.json")
    assert not final["conv2"]["quant_enable"]


def test_a_strategy_that_never_ends_is_stopped(model: Path) -> None:
    class Never(FromTheTop):
        def update_quant_config(self, metric_eval: tuple[bool, float]) -> dict[str, Any]:
            return {"stop_flag": False, "roll_back_config": {}}

    with pytest.raises(CalibrationError, match="no quantized model keeps the metric"):
        run(model, Evaluator(model), strategy=Never())


def test_a_sensitivity_of_the_users_ranks(model: Path) -> None:
    class ByMaximum(SensitivityBase):
        def compare(self, original_output: Any, quantized_output: Any) -> float:
            assert original_output.shape == quantized_output.shape
            return -float(np.abs(original_output - quantized_output).max())

    out = run(model, Evaluator(model), sensitivity=ByMaximum())
    ranking = read(out / f"{NAME}_ranking_information.json")
    assert all(score <= 0 for _, score in ranking)
    final = read(out / f"{NAME}_final_config.json")
    assert [layer for layer in ("conv1", "conv2", "conv3", "conv4") if not final[layer]["quant_enable"]] == ["conv2", "conv4"]


def test_an_interrupted_run_goes_on(model: Path) -> None:
    class Stopped(Evaluator):
        limit = 3

        def evaluate(self, model_file: str) -> float:
            if len(self.fidelity.calls) == self.limit:
                raise KeyboardInterrupt
            return super().evaluate(model_file)

    with pytest.raises(KeyboardInterrupt):
        run(model, Stopped(model))
    assert not (model.parent / "out").exists()
    second = Stopped(model)
    second.limit = 99
    run(model, second)
    whole = Stopped(model)
    whole.limit = 99
    run(model, whole)
    assert len(second.fidelity.calls) == len(whole.fidelity.calls) - 3
    assert not list(model.parent.glob("*journal*"))


def raising(method: str, what: object) -> type[Evaluator]:
    def replaced(self: Evaluator, *_given: object) -> object:
        if isinstance(what, Exception):
            raise what
        return what

    return type("Mine", (Evaluator,), {method: replaced})


@pytest.mark.parametrize(
    ("method", "what", "error", "message"),
    [
        ("evaluate", None, DataError, "evaluate returned None for the float model; it must return a number"),
        ("evaluate", float("nan"), DataError, "evaluate returned nan"),
        ("evaluate", OSError("no such disk"), DataError, r"OSError: no such disk \(evaluate, on the float model\)"),
        ("metric_eval", (False, 1.0), DataError, "not even the float model would do"),
        ("metric_eval", True, DataError, "returned True; it must return a pair"),
        ("calibration", None, CalibrationError, "was run 0 of 4 times"),
        ("calibration", KeyError("x"), DataError, r"KeyError: 'x' \(calibration\)"),
    ],
)
def test_what_an_evaluator_does_wrong_is_told(
    model: Path, method: str, what: object, error: type[AmctError], message: str
) -> None:
    with pytest.raises(error, match=message):
        run(model, raising(method, what)(model))
    assert not (model.parent / "out").exists()


def returning(step: object) -> AutoCalibrationStrategyBase:
    class Mine(FromTheTop):
        def update_quant_config(self, metric_eval: tuple[bool, float]) -> Any:
            return step

    return Mine()


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"strategy": "BinarySerch"}, ConfigError, r"'BinarySerch' \(did you mean 'BinarySearch'\?\)"),
        ({"strategy": object()}, ConfigError, "no initialize and no update_quant_config"),
        ({"strategy": returning(None)}, DataError, r"update_quant_config returned None; it must return \{'stop_flag'"),
        ({"strategy": returning({"stop_flag": True})}, DataError, "it must return"),
        (
            {"strategy": returning({"stop_flag": True, "roll_back_config": {"conv22": False}})},
            DataError,
            "did you mean 'conv2'",
        ),
        (
            {"strategy": returning({"stop_flag": True, "roll_back_config": {"conv2": False}})},
            CalibrationError,
            "none of the 2 candidates that the strategy named is acceptable",
        ),
        ({"sensitivity": "Cosine"}, ConfigError, "unknown sensitivity 'Cosine'"),
        ({"sensitivity": 3}, ConfigError, "has no method compare"),
    ],
)
def test_what_else_is_wrong_is_told(model: Path, given: dict[str, Any], error: type[AmctError], message: str) -> None:
    with pytest.raises(error, match=message):
        run(model, Evaluator(model), **given)


def test_an_evaluator_without_its_methods_and_a_config_that_is_no_json_are_told(model: Path) -> None:
    with pytest.raises(ConfigError, match="object has no calibration and no evaluate and no metric_eval"):
        run(model, object())
    (model.parent / "config.json").write_text("batch_num: 1")
    with pytest.raises(ConfigError, match=r"is no JSON configuration .*config_defination"):
        run(model, Evaluator(model))


def test_balanced_layers_get_their_factors_from_a_calibration_of_their_own(model: Path) -> None:
    config = model.parent / "config.json"
    content = read(config)
    for layer in ("conv1", "conv2", "conv3", "conv4"):
        content[layer]["dmq_balancer_param"] = 0.5
    config.write_text(json.dumps(content))
    evaluator = Evaluator(model)
    out = run(model, evaluator)
    assert evaluator.calibrations == 2
    record = amct.read_record(model.parent / "record.txt")
    assert record.layers
    for kind in ("fake_quant", "deploy"):
        names = {node.name for node in onnx.load(out / f"net_{kind}_model.onnx").graph.node if node.op_type == "Mul"}
        assert names == {f"{layer.key}.mul" for layer in record.layers}
    # The models are what was accepted: float and balanced float model agree to 100 dB and more.
    assert evaluator.metric_eval(evaluator.evaluate(str(model)), evaluator.evaluate(str(out / "net_fake_quant_model.onnx")))[0]


POOLED = """net (float[N,3,16,16] x) => (float[N,8,8,8] y) {
  [conv1] a = Conv<pads = [1,1,1,1]>(x, w1, b1)
  [relu] b = Relu(a)
  [pool] c = MaxPool<kernel_shape = [2,2], strides = [2,2]>(b)
  [conv2] y = Conv<group = 8, pads = [1,1,1,1]>(c, w2, b2)
}"""


def test_a_single_tensor_that_a_float_layer_would_read_goes_with_it(tmp_path: Path) -> None:
    model = delicate(tmp_path, POOLED, conv2=200.0)
    write_config(model, tensor_quantize=[{"layer_name": "pool", "input_index": 0}])
    run(model, Evaluator(model))
    assert set(amct.read_record(tmp_path / "record.txt").by_key) == {"conv1"}
