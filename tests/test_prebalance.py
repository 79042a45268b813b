"""Balancing as a part of the main job: what it is good for, what a record and a calibration file keep of it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_nets import ONE_THREAD, images, net, saved, sqnr_of

from amct_lite import ir
from amct_lite.config import Override, QuantConfig
from amct_lite.converting import convert
from amct_lite.errors import CalibrationError, ConfigError, DataError, RecordError, VerificationError
from amct_lite.numerics.balance import balance_factors
from amct_lite.pipeline import calibrate, conclude, quantize
from amct_lite.record import format_record, read_record
from amct_lite.result import QuantizeResult

PER_TENSOR = QuantConfig(per_channel="none", bias_correction="analytic")
BALANCED = replace(PER_TENSOR, balance=0.5)
FOLDED = replace(BALANCED, balance_fold=True)
CHAIN = """net (float[1,3,16,16] x) => (float[1,10,8,8] y) {
  [conv1] a = Conv<pads = [1,1,1,1]>(x, w1, b1)
  [relu1] b = Relu(a)
  [conv3] e = Conv(b, w3, b3)
  [pool] p = AveragePool<kernel_shape = [3,3], pads = [1,1,1,1]>(e)
  [conv4] y = Conv<strides = [2,2], pads = [1,1,0,0]>(p, w4, b4)
}"""
DATA = images(16)


def uneven() -> dict[str, np.ndarray]:
    """One channel of conv1 is 100 times as large as the others; conv3 takes it back."""
    rng = np.random.default_rng(5)
    w1 = rng.normal(size=(8, 3, 3, 3)).astype(np.float32) / 5
    w3 = rng.normal(size=(8, 8, 1, 1)).astype(np.float32) / 3
    w1[2] *= 100
    w3[:, 2] /= 100
    return {"w1": w1, "w3": w3, "b1": np.zeros(8, np.float32)}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(net(CHAIN, **uneven()), tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def result(model: Path) -> QuantizeResult:
    return quantize(model, DATA, BALANCED, options=ONE_THREAD)


@pytest.fixture(scope="module")
def folded(model: Path) -> QuantizeResult:
    return quantize(model, DATA, FOLDED, options=ONE_THREAD)


def names(result: QuantizeResult, op_type: str = "Mul") -> list[str]:
    assert result.exports.deploy is not None
    found = [[str(n.name) for n in m.graph if n.op_type == op_type] for m in (result.exports.fake_quant, result.exports.deploy)]
    assert found[0] == found[1]
    return found[0]


def written(result: QuantizeResult, folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in result.save(folder / "r")}


def test_a_channel_out_of_proportion_no_longer_takes_the_range_of_all(model: Path, result: QuantizeResult) -> None:
    plain = quantize(model, DATA, replace(PER_TENSOR, fallback=0), options=ONE_THREAD)
    before, after = ({row.name: row.sqnr_db or 0 for row in run.report.layers} for run in (plain, result))
    # 100 to 1 leaves the other channels of conv3 one of 100 codes, which is 40 dB: ten of them may go elsewhere.
    assert after["conv3"] > before["conv3"] + 30
    assert sqnr_of(model, result) > sqnr_of(model, plain)


def test_both_models_have_a_mul_in_front_of_each_balanced_layer(result: QuantizeResult) -> None:
    assert names(result) == ["conv1.mul", "conv3.mul", "conv4.mul"]
    assert result.report.equivalence is not None
    assert "balanced the inputs of 3 layers against their weights" in result.report.notes


def test_factors_are_those_of_the_formula_on_all_data(model: Path, result: QuantizeResult) -> None:
    seen = np.abs(np.concatenate([feeds["x"] for feeds in DATA])).max(axis=(0, 2, 3))
    weight = np.abs(uneven()["w1"]).max(axis=(0, 2, 3))
    assert result.record.by_key["conv1"].balance_factor == tuple(balance_factors(seen, weight, 0.5).tolist())
    assert result.record.by_key["pool"].balance_factor == ()


def test_a_layer_without_weight_says_why_it_is_not_balanced(result: QuantizeResult) -> None:
    (pool,) = [row for row in result.report.layers if row.name == "pool"]
    assert pool.notes == ("not balanced: it has no constant weight",)


def test_strengths_differ_by_layer_and_type(model: Path) -> None:
    config = replace(PER_TENSOR, balance=0.5, layers={"conv1": Override(balance=0.0), "conv4": Override(balance=0.7)})
    balance = calibrate(model, DATA, config, options=ONE_THREAD).calibration.statistics.balance
    assert balance is not None
    assert balance.strengths == {"conv3": 0.5, "conv4": 0.7}
    typed = calibrate(model, DATA, replace(PER_TENSOR, types={"Conv": Override(balance=0.3)}), options=ONE_THREAD)
    assert typed.calibration.statistics.balance is not None
    assert set(typed.calibration.statistics.balance.strengths.values()) == {0.3}


def test_nothing_is_balanced_unasked(model: Path) -> None:
    calibration = calibrate(model, DATA, PER_TENSOR, options=ONE_THREAD).calibration
    assert calibration.statistics.balance is None


@pytest.mark.parametrize("config", [BALANCED, FOLDED], ids=["mul", "folded"])
def test_record_and_calibration_file_give_the_same_bytes_again(model: Path, config: QuantConfig, tmp_path: Path) -> None:
    first = written(quantize(model, DATA, config, options=ONE_THREAD), tmp_path)
    again = written(convert(model, tmp_path / "r_record.txt", options=ONE_THREAD), tmp_path / "again")
    decided = quantize(model, config=config, statistics=tmp_path / "r_calibration.npz", options=ONE_THREAD)
    for name in ("r_fake_quant_model.onnx", "r_deploy_model.onnx"):
        assert again[name] == first[name]
        assert written(decided, tmp_path / "from")[name] == first[name]


def test_a_record_alone_determines_the_models(model: Path, result: QuantizeResult, tmp_path: Path) -> None:
    (tmp_path / "alone_record.txt").write_bytes(written(result, tmp_path)["r_record.txt"])
    alone = convert(model, tmp_path / "alone_record.txt", options=ONE_THREAD)
    assert names(alone) == names(result)
    assert alone.record == result.record


def test_factors_fold_into_the_layer_in_front(folded: QuantizeResult, result: QuantizeResult, model: Path) -> None:
    assert names(folded) == ["conv1.mul"]
    assert "conv1: its balancing keeps a Mul: x is an input of the model" in folded.report.notes
    assert "balanced the inputs of 3 layers against their weights, 2 of them without a Mul in front" in folded.report.notes
    # conv1 has one weight scale, of which its large channel leaves the others one hundredth: folding makes its rows even, too.
    assert sqnr_of(model, folded) > sqnr_of(model, result) + 10


def test_a_record_can_be_folded_later(model: Path, result: QuantizeResult) -> None:
    later = convert(model, result.record, config=QuantConfig(balance_fold=True), options=ONE_THREAD)
    assert names(later) == ["conv1.mul"]


def test_other_strengths_need_the_data_again(model: Path, result: QuantizeResult) -> None:
    with pytest.raises(CalibrationError, match=r"made with 3 balanced layers \(strength 0.5\).* asks for .*\(strength 0.3\)"):
        quantize(model, config=replace(BALANCED, balance=0.3), statistics=result.statistics, options=ONE_THREAD)
    plain = quantize(model, DATA, PER_TENSOR, options=ONE_THREAD).statistics
    with pytest.raises(CalibrationError, match="made without balancing, the configuration asks for 3 balanced layers"):
        quantize(model, config=BALANCED, statistics=plain, options=ONE_THREAD)
    kept = quantize(model, config=PER_TENSOR, statistics=result.statistics, options=ONE_THREAD)
    assert kept.record == result.record


def test_data_that_can_be_read_once_are_refused(model: Path) -> None:
    with pytest.raises(DataError, match="balancing reads the data twice, and Python generator can be read only once"):
        quantize(model, (feeds for feeds in DATA), BALANCED, options=ONE_THREAD)


def test_nothing_to_fold_is_an_error(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"balance_fold is set, but no layer is balanced\. Set balance \(--balance\)"):
        quantize(model, DATA, QuantConfig(balance_fold=True), options=ONE_THREAD)
    pool = saved(net("net (float[1,3,16,16] x) => (float y) { y = AveragePool<kernel_shape = [2,2]>(x) }"), tmp_path)
    with pytest.raises(ConfigError, match=r"no layer is balanced\. None of them can be: leave it out"):
        quantize(pool, DATA, FOLDED, options=ONE_THREAD)


@pytest.mark.parametrize("strength", [0.1, 0.9, True, "0.5"])
def test_a_strength_outside_of_amcts_bounds_is_refused(strength: object) -> None:
    with pytest.raises(ConfigError, match=r"balance = .* must be a number from 0.2 to 0.8, or false"):
        QuantConfig(balance=strength)  # type: ignore[arg-type]


def test_edited_factors_are_taken_and_the_calibration_is_not(model: Path, result: QuantizeResult, tmp_path: Path) -> None:
    written(result, tmp_path)
    path = tmp_path / "r_record.txt"
    text = re.sub(r"tensor_balance_factor: [\d.e-]+", "tensor_balance_factor: 0.25", path.read_text(), count=1)
    path.write_text(text)
    edited = convert(model, path, options=ONE_THREAD)
    assert edited.record.by_key["conv1"].balance_factor[0] == 0.25
    assert any("belongs to other balance factors or another model" in warning for warning in edited.report.warnings)


def test_a_layer_deleted_from_the_record_leaves_the_calibration_of_the_others(
    model: Path, result: QuantizeResult, tmp_path: Path
) -> None:
    written(result, tmp_path)
    layers = tuple(layer for layer in result.record.layers if layer.key != "conv3")
    (tmp_path / "r_record.txt").write_text(format_record(replace(result.record, layers=layers)))
    shorter = convert(model, tmp_path / "r_record.txt", options=ONE_THREAD)
    assert names(shorter) == ["conv1.mul", "conv4.mul"]
    assert any("bias correction (analytic) and static shapes from" in note for note in shorter.report.notes)
    assert not any("not used" in warning for warning in shorter.report.warnings)


def test_factors_of_a_layer_that_has_none_are_refused(model: Path, result: QuantizeResult) -> None:
    layers = tuple(replace(layer, balance_factor=(2.0,)) for layer in result.record.layers if layer.key == "pool")
    with pytest.raises(RecordError, match=r"'pool' \(AveragePool\) has 1 tensor_balance_factor, but no constant weight"):
        convert(model, replace(result.record, layers=layers), options=ONE_THREAD)


def test_a_layer_put_back_into_float_loses_its_factors(model: Path, tmp_path: Path) -> None:
    narrowed = calibrate(model, DATA, BALANCED, options=ONE_THREAD).without({"conv3": "for a test"})
    result = conclude(narrowed, ONE_THREAD)
    assert names(result) == ["conv1.mul", "conv4.mul"]
    files = written(result, tmp_path)
    again = written(convert(model, read_record(tmp_path / "r_record.txt"), options=ONE_THREAD), tmp_path / "again")
    assert again["r_fake_quant_model.onnx"] == files["r_fake_quant_model.onnx"]


def test_folded_layers_cannot_be_put_back_one_by_one(model: Path) -> None:
    with pytest.raises(CalibrationError, match="conv3 cannot be put back into float: its balancing is folded"):
        calibrate(model, DATA, FOLDED, options=ONE_THREAD).without({"conv3": "for a test"})


def test_balancing_that_changes_the_model_is_found_out(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("amct_lite.balance.graph._scale_weight", lambda layer, factors: None)
    with pytest.raises(VerificationError, match="of the balanced model lies only"):
        quantize(model, DATA, BALANCED, options=ONE_THREAD)


BETWEEN = """net (float[1,3,16,16] x) => (float[1,10,8,8] y) {
  [conv1] a = Conv<pads = [1,1,1,1]>(x, w1, b1)
  [conv3] e = Conv(a, w3, b3)
  [conv4] y = Conv<strides = [2,2], pads = [1,1,0,0]>(e, w4, b4)
}"""


def test_a_record_may_read_a_tensor_in_front_of_the_mul_that_it_puts_there(tmp_path: Path) -> None:
    """As those of runs for ONNX Runtime do: its integers go through the Mul."""
    model = saved(net(BETWEEN), tmp_path)
    config = replace(BALANCED, target="ort", bias_correction="none")
    result = quantize(model, DATA, config, options=ONE_THREAD)
    assert "conv3.mul:0" in result.record.by_key
    record = tmp_path / "record.txt"
    record.write_text(format_record(result.record))
    again = convert(model, record, config=config, statistics=result.statistics, options=ONE_THREAD)
    assert ir.to_bytes(again.exports.deploy) == ir.to_bytes(result.exports.deploy)
    without = replace(read_record(record), layers=tuple(replace(layer, balance_factor=()) for layer in result.record.layers))
    with pytest.raises(RecordError, match=r"'conv3\.mul:0' is no node of the model"):
        convert(model, without, config=config, options=ONE_THREAD)


def test_a_balanced_model_of_open_sizes_is_run_on_the_samples_given(tmp_path: Path) -> None:
    model = saved(net(CHAIN.replace("[1,3,16,16]", "[N,3,H,W]").replace("[1,10,8,8]", "[N,10,K,L]")), tmp_path)
    result = quantize(model, DATA, replace(BALANCED, target="ort"), options=ONE_THREAD)
    assert result.exports.deploy is not None


def test_folding_gives_no_layer_a_weight_of_its_own(tmp_path: Path) -> None:
    """Two layers with one weight stay in float for ATC, and so they do when a layer behind them is balanced."""
    twice = CHAIN.replace("[pool]", "[conv5] f = Conv(e, w3, b3)\n  [pool]").replace("1,1]>(e)", "1,1]>(f)")
    result = quantize(saved(net(twice, **uneven()), tmp_path), DATA, FOLDED, options=ONE_THREAD)
    assert set(result.record.by_key) == {"conv1", "pool", "conv4"}
    record = tmp_path / "record.txt"
    record.write_text(format_record(result.record))
    again = convert(tmp_path / "model.onnx", record, config=FOLDED, statistics=result.statistics, options=ONE_THREAD)
    assert ir.to_bytes(again.exports.deploy) == ir.to_bytes(result.exports.deploy)
