"""The whole way: weights with a learned rounding, kept in the calibration file and exported from there."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_nets import ONE_THREAD, images, net, run, saved

from amct_lite import ir
from amct_lite.calibration import store
from amct_lite.config import Override, QuantConfig
from amct_lite.converting import convert
from amct_lite.pipeline import quantize
from amct_lite.result import QuantizeResult

GPTQ = QuantConfig(weight_algorithm="gptq")


def models(result: QuantizeResult) -> list[bytes]:
    assert result.exports.deploy is not None
    return [ir.to_bytes(result.exports.fake_quant), ir.to_bytes(result.exports.deploy)]


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> QuantizeResult:
    return quantize(saved(net(), tmp_path_factory.mktemp("learned")), images(24), GPTQ, options=ONE_THREAD)


def test_layers_say_what_their_rounding_has_gained(learned: QuantizeResult) -> None:
    roundings = learned.statistics.roundings
    assert roundings
    for row in learned.report.layers:
        said = [note for note in row.notes if "nearest" in note]
        assert len(said) == 1
        assert (row.name in roundings) == ("learned rounding: output error" in said[0])


@pytest.mark.parametrize("correction", ["none", "analytic", "full"])
def test_saved_files_give_the_same_bytes(correction: str, tmp_path: Path) -> None:
    path = saved(net(), tmp_path)
    config = replace(GPTQ, bias_correction=correction)
    result = quantize(path, images(24), config, options=ONE_THREAD)
    result.save(str(tmp_path / "out"))
    again = convert(path, tmp_path / "out_record.txt", options=ONE_THREAD)
    assert models(again) == models(result)
    assert any("learned rounding" in note for row in again.report.layers for note in row.notes)
    plain = quantize(path, images(24), replace(config, weight_algorithm="arq"), options=ONE_THREAD)
    assert plain.record == result.record, "the rounding leaves the scales as they are"
    assert models(plain) != models(result)


def test_the_same_run_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    path = saved(net(), tmp_path)
    config = QuantConfig(weight_algorithm="ada", weight_options={"num_iteration": 50})
    first, second = (quantize(path, images(8), config, options=ONE_THREAD) for _ in range(2))
    assert models(first) == models(second)
    assert store.to_bytes(first.statistics) == store.to_bytes(second.statistics)


def test_a_calibration_keeps_its_roundings_for_the_method_they_were_learned_with(tmp_path: Path) -> None:
    path = saved(net(), tmp_path)
    first = quantize(path, images(24), GPTQ, options=ONE_THREAD)
    first.save(str(tmp_path / "out"))
    file = tmp_path / "out_calibration.npz"
    assert models(quantize(path, None, GPTQ, statistics=file, options=ONE_THREAD)) == models(first)

    other = quantize(path, None, QuantConfig(weight_algorithm="ada"), statistics=file, options=ONE_THREAD)
    assert other.statistics.roundings == {}
    assert all("learned from samples only (pass --data, too)" in row.notes[-1] for row in other.report.layers)

    plain = quantize(path, None, QuantConfig(), statistics=file, options=ONE_THREAD)
    assert plain.statistics.roundings == {}
    assert not any(row.notes for row in plain.report.layers)


def test_a_layer_of_its_own_method(tmp_path: Path) -> None:
    config = QuantConfig(layers={"conv3": Override(weight_algorithm="gptq", weight_options={"damping": 0.1})})
    result = quantize(saved(net(), tmp_path), images(24), config, options=ONE_THREAD)
    assert set(result.statistics.roundings) <= {"conv3"}
    assert [row.name for row in result.report.layers if any("nearest" in note for note in row.notes)] == ["conv3"]


def test_bias_shifts_measured_with_other_weights_are_not_taken(tmp_path: Path) -> None:
    path = saved(net(), tmp_path)
    full = replace(GPTQ, bias_correction="full")
    quantize(path, images(24), full, options=ONE_THREAD).save(str(tmp_path / "out"))
    plain = replace(full, weight_algorithm="arq")
    result = quantize(path, None, plain, statistics=tmp_path / "out_calibration.npz", options=ONE_THREAD)
    assert result.statistics.bias_correction == "analytic"
    assert any("needs samples" in note for note in result.report.notes)


def test_biases_are_corrected_for_the_weights_that_are_exported(tmp_path: Path) -> None:
    """With 4 bits a learned rounding is far from the nearest: shifts measured with that one would be those of another model."""
    path, data = saved(net(), tmp_path), images(24)
    config = replace(GPTQ, weight_bits=4)
    exact = sum(run(path, feeds)[0].mean((0, 2, 3)) for feeds in data) / 24
    off = {}
    for correction in ("none", "full"):
        exports = quantize(path, data, replace(config, bias_correction=correction), options=ONE_THREAD).exports
        means = sum(run(exports.fake_quant, feeds)[0].mean((0, 2, 3)) for feeds in data) / 24
        off[correction] = np.abs(means - exact).max()
    assert off["full"] < off["none"] / 2


def test_a_table_says_why_it_is_rounded_to_nearest_with_samples_and_without(tmp_path: Path) -> None:
    text = """net (int64[2,7] ids, int64[2,7] more) => (float[2,7,16] y) {
      [embed] a = Gather (table, ids) [again] b = Gather (table, more) s = Add (a, b) t = Tanh (s) [fc] y = MatMul (t, w) }"""
    path = saved(net(text, table=(1500, 48), w=(48, 16)), tmp_path)
    ids = np.random.default_rng(2).integers(0, 1500, (8, 2, 2, 7))
    data = [{"ids": left, "more": right} for left, right in ids]
    config = replace(GPTQ, target="ort")
    learned = quantize(path, data, config, options=ONE_THREAD)
    plain = quantize(path, data, replace(config, weight_algorithm="arq"), options=ONE_THREAD)
    said = "its weight is rounded to nearest: its rows are picked, not multiplied, so no other rounding is nearer to them"
    for result in (learned, quantize(path, None, config, statistics=plain.statistics, options=ONE_THREAD)):
        notes = {row.name: row.notes for row in result.report.layers}
        assert (notes["embed"], notes["again"]) == ((said,), (said,))
    assert "pass --data, too" in notes["fc"][0]
