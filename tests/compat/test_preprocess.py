"""AMCT's balancing: the pre-pass fills a record with factors, and the flow after it works on the balanced model."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import amct_lite as amct
from amct_lite.cli.amct_onnx import main
from amct_lite.compat.configs import load_amct_config, write_config
from amct_lite.config import Override, QuantConfig
from amct_lite.errors import CalibrationError, ConfigError, RecordError, UnsupportedModelError
from amct_lite.loading import load_prepared
from amct_lite.pipeline import quantize
from amct_lite.plan import resolve

DIGITS = Path(__file__).resolve().parents[2] / "samples" / "digits"
CFG = "batch_num: 2\ncommon_config { dmq_balancer { migration_strength: 0.4 } }\n"
LAYER = "block1.pointwise"


def batches() -> list[dict[str, np.ndarray]]:
    images = [np.load(file).reshape(1, 1, 8, 8) for file in sorted((DIGITS / "calibration").glob("*.npy"))]
    return [{"images": np.concatenate(images[8 * number : 8 * number + 8])} for number in range(2)]


class Flow:
    """The files of one flow in a folder, and its steps."""

    def __init__(self, folder: Path, cfg: str = CFG) -> None:
        self.folder, self.record = folder, folder / "record.txt"
        self.model = Path(shutil.copy(DIGITS / "digits.onnx", folder / "digits.onnx"))
        (folder / "q.cfg").write_text(cfg)
        amct.create_quant_config(folder / "q.json", self.model, config_defination=folder / "q.cfg")

    def preprocess(self, runs: int = 2) -> Path:
        amct.quantize_preprocess(self.folder / "q.json", self.record, self.model, self.folder / "pre.onnx")
        return self.run(self.folder / "pre.onnx", runs)

    def quantize(self, runs: int = 2) -> Path:
        amct.quantize_model(self.folder / "q.json", self.model, self.folder / "modified.onnx", self.record)
        return self.run(self.folder / "modified.onnx", runs)

    @staticmethod
    def run(model: Path, runs: int) -> Path:
        session = amct.CalibrationSession(model)
        for feeds in batches()[:runs]:
            session.run(None, feeds)
        return model

    def save(self, modified: Path) -> Path:
        amct.save_model(modified, self.record, self.folder / "out" / "net")
        return self.folder / "out"


@pytest.fixture
def flow(tmp_path: Path) -> Flow:
    return Flow(tmp_path)


def test_the_whole_flow_keeps_the_accuracy(flow: Flow) -> None:
    flow.preprocess()
    factors = flow.record.read_text()
    assert "tensor_balance_factor:" in factors
    assert "scale_d" not in factors
    out = flow.save(flow.quantize())
    record = amct.read_record(flow.record)
    assert f"tensor_balance_factor: {np.float32(record.by_key[LAYER].balance_factor[0])!s}" in factors
    for kind in ("fake_quant", "deploy"):
        graph = onnx.load(out / f"net_{kind}_model.onnx").graph
        muls = {node.name for node in graph.node if node.op_type == "Mul"}
        assert muls == {f"{layer.key}.mul" for layer in record.layers if layer.balance_factor}
        assert {f"{LAYER}.tensor_balance_factor"} <= {tensor.name for tensor in graph.initializer}
    with np.load(DIGITS / "test.npz") as test:
        images, labels = test["x"], test["y"]
    session = onnxruntime.InferenceSession(out / "net_fake_quant_model.onnx")
    assert (session.run(None, {"images": images})[0].argmax(1) == labels).mean() >= 0.98  # float: 0.995


def test_factors_are_those_of_the_main_job(flow: Flow) -> None:
    flow.preprocess()
    flow.quantize()
    config = QuantConfig(balance=0.4, trust_data=True)
    expected = quantize(flow.model, batches(), config).record
    found = amct.read_record(flow.record)
    assert {layer.key: layer.balance_factor for layer in found.layers} == {
        layer.key: layer.balance_factor for layer in expected.layers
    }


def test_the_record_converts_to_the_same_network(flow: Flow) -> None:
    flow.preprocess()
    out = flow.save(flow.quantize())
    amct.convert_model(flow.model, flow.record, flow.folder / "again")
    assert (flow.folder / "again_deploy_model.onnx").is_file()  # with the batch of the runs
    feeds = batches()[0]
    saved = onnxruntime.InferenceSession(out / "net_fake_quant_model.onnx").run(None, feeds)[0]
    again = onnxruntime.InferenceSession(flow.folder / "again_fake_quant_model.onnx").run(None, feeds)[0]
    # The same integers are multiplied; the sums of the float layers between are rounded in another order at most.
    np.testing.assert_allclose(again, saved, rtol=1e-4, atol=1e-4 * np.abs(saved).max())


def test_a_mul_stands_for_no_node_of_the_users_model(flow: Flow) -> None:
    flow.preprocess()
    out = flow.save(flow.quantize())
    operators = {op["name"]: op for op in json.loads((out / "net_quant.json").read_text())["graph"][0]["op"]}
    assert operators[f"{LAYER}.mul"]["attr"][0]["value"]["list"]["s"] == []


def test_factors_stand_in_the_record_after_the_first_run_already(flow: Flow) -> None:
    flow.preprocess(runs=1)
    first = flow.record.read_text()
    assert first.count("key:") == first.count("value {") > 1
    flow.preprocess(runs=2)
    assert flow.record.read_text() != first
    flow.quantize(runs=0)


def test_without_the_prepass_it_says_what_to_call(flow: Flow) -> None:
    with pytest.raises(CalibrationError, match=r"record.txt has no tensor_balance_factor for .*Call quantize_preprocess"):
        flow.quantize()
    flow.record.write_text("record { nonsense")
    with pytest.raises(RecordError, match=r"record.txt is no record .*Call quantize_preprocess again"):
        flow.quantize()


def test_factors_out_of_bounds_or_of_the_wrong_number_are_refused(flow: Flow) -> None:
    flow.preprocess()
    good = flow.record.read_text()
    factor = next(line for line in good.splitlines() if "tensor_balance_factor" in line)
    flow.record.write_text(good.replace(factor, "    tensor_balance_factor: 1e9", 1))
    with pytest.raises(RecordError, match=r"layer '.*': tensor_balance_factor 1e\+09 is outside \[1.19.*e-07, 8388608\]"):
        flow.quantize()
    flow.record.write_text(good.replace(factor, factor + "\n" + factor, 1))
    with pytest.raises(RecordError, match=r"layer 'stem.conv' has 2 tensor_balance_factor, must be 1, its input"):
        flow.quantize()


def test_a_configuration_that_balances_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"q.json balances no layer: give one dmq_balancer_param"):
        Flow(tmp_path, "batch_num: 2").preprocess()


def test_the_model_of_the_prepass_cannot_be_saved(flow: Flow) -> None:
    with pytest.raises(UnsupportedModelError, match=r"pre.onnx was written by quantize_preprocess"):
        flow.save(flow.preprocess())


def test_factors_edited_after_the_calibration_are_refused(flow: Flow) -> None:
    flow.preprocess()
    modified = flow.quantize()
    text = flow.record.read_text()
    factor = next(line for line in text.splitlines() if "tensor_balance_factor" in line)
    flow.record.write_text(text.replace(factor, "    tensor_balance_factor: 3", 1))
    with pytest.raises(RecordError, match=r"tensor_balance_factor of .* are not those that the model was calibrated"):
        flow.save(modified)


def test_both_formats_say_who_is_balanced_and_how(flow: Flow) -> None:
    prepared = load_prepared(flow.model).prepared
    config = QuantConfig(balance=0.3, layers={LAYER: Override(balance=0.7), "stem.conv": Override(balance=0.0)})
    wanted = {layer.name: layer.balance for layer in resolve(config, prepared).layers}
    assert (wanted[LAYER], wanted["stem.conv"], wanted["block1.depthwise"]) == (0.7, 0.0, 0.3)
    for kind in ("amct", "cfg"):
        path = flow.folder / f"written.{'json' if kind == 'amct' else 'cfg'}"
        write_config(path, replace(config, batches=1), resolve(config, prepared), kind)
        read = resolve(load_amct_config(path, prepared), prepared)
        assert {layer.name: layer.balance for layer in read.layers} == wanted
    assert '"dmq_balancer_param":0.7' in (flow.folder / "written.json").read_text()


def test_the_command_makes_the_prepass_itself(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    (flow.folder / "bins").mkdir()
    for number, feeds in enumerate(batches()):
        feeds["images"].tofile(flow.folder / "bins" / f"{number}.bin")
    monkeypatch.chdir(flow.folder)
    data = ["--input_shape=images:8,1,8,8", "--data_dir=bins/", "--data_types=float32", "--calibration_config=q.cfg"]
    monkeypatch.setattr(sys, "argv", ["amct_onnx", "calibration", "--model=digits.onnx", "--save_path=out/net", *data])
    main()
    names = {node.name for node in onnx.load("out/net_deploy_model.onnx").graph.node}
    assert {f"{LAYER}.mul", f"{LAYER}.quant"} <= names


def test_stock_runtime_fills_the_same_factors(flow: Flow) -> None:
    pytest.importorskip("onnxruntime_extensions")
    flow.preprocess()
    own = flow.record.read_text()
    modified = flow.preprocess(runs=0)
    session = onnxruntime.InferenceSession(modified, amct.AMCT_SO)
    for feeds in batches():
        session.run(None, feeds)
    assert flow.record.read_text() == own
