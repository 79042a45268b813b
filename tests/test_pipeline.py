"""The main job as a whole: the same inputs give the same bytes, nothing else is touched, and the way batches are cut
does not matter."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from small_nets import ONE_THREAD, images, net, saved, sqnr_of

from amct_lite import ir
from amct_lite.calibration.images import ImageOptions
from amct_lite.config import QuantConfig
from amct_lite.converting import convert
from amct_lite.errors import CalibrationError, DataError, ExportError, RecordError
from amct_lite.pipeline import quantize
from amct_lite.public import export
from amct_lite.record import read_record
from amct_lite.result import QuantizeResult

MODELS = ("fake_quant_model.onnx", "deploy_model.onnx")
ALL_FIVE = ("record.txt", *MODELS, "calibration.npz", "report.json")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(net(), tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def result(model: Path) -> QuantizeResult:
    return quantize(model, images(16), options=ONE_THREAD)


def contents(result: QuantizeResult, folder: Path) -> dict[str, bytes]:
    """What `save` writes, by the end of the file's name."""
    written = result.save(folder / "r")
    return {path.name.removeprefix("r_"): path.read_bytes() for path in written}


def tree(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_five_files_are_written(result: QuantizeResult, tmp_path: Path) -> None:
    assert set(contents(result, tmp_path)) == set(ALL_FIVE)


def test_same_inputs_give_the_same_bytes(result: QuantizeResult, model: Path, tmp_path: Path) -> None:
    again = quantize(model, images(16), options=ONE_THREAD)
    assert contents(again, tmp_path / "again") == contents(result, tmp_path / "first")


def test_saved_calibration_gives_the_same_bytes_without_data(result: QuantizeResult, model: Path, tmp_path: Path) -> None:
    first = contents(result, tmp_path / "first")
    again = quantize(model, statistics=tmp_path / "first" / "r_calibration.npz", options=ONE_THREAD)
    second = contents(again, tmp_path / "again")
    for name in ("record.txt", *MODELS, "calibration.npz"):
        assert second[name] == first[name], name
    assert {row.sqnr_db for row in again.report.layers} == {None}, "there was nothing to measure a layer's error on"


def test_saved_calibration_with_data_gives_all_five_again(result: QuantizeResult, model: Path, tmp_path: Path) -> None:
    first = contents(result, tmp_path / "first")
    statistics = tmp_path / "first" / "r_calibration.npz"
    again = quantize(model, images(16), statistics=statistics, options=ONE_THREAD)
    assert contents(again, tmp_path / "again") == first


def test_options_for_reading_data_change_nothing_where_none_are_read(result: QuantizeResult, model: Path) -> None:
    def idle(result: QuantizeResult) -> list[str]:
        return [note.split(" changes nothing here")[0] for note in result.report.notes if "changes nothing here" in note]

    options = replace(ONE_THREAD, batch_size=4, images=ImageOptions(size=(16, 16)))
    both = ["--batch-size", "how images become arrays (--image-mean and the like)"]
    assert idle(quantize(model, statistics=result.statistics, options=options)) == both
    assert idle(quantize(model, options=replace(options, random=2))) == both
    assert idle(convert(model, result.record, options=options)) == both
    assert idle(quantize(model, images(4), statistics=result.statistics, options=replace(options, images=None))) == []


@pytest.mark.parametrize("correction", ["none", "analytic", "full"])
def test_convert_of_the_record_gives_the_same_models(correction: str, model: Path, tmp_path: Path) -> None:
    config = QuantConfig(bias_correction=correction)
    first = contents(quantize(model, images(16), config, options=ONE_THREAD), tmp_path / "first")
    again = convert(model, tmp_path / "first" / "r_record.txt", options=ONE_THREAD)
    second = contents(again, tmp_path / "again")
    assert {name: second[name] for name in MODELS} == {name: first[name] for name in MODELS}
    assert set(second) == {*MODELS, "report.json"}


def test_convert_of_the_corrected_model_needs_no_calibration(result: QuantizeResult, tmp_path: Path) -> None:
    first = contents(result, tmp_path / "first")
    corrected = tmp_path / "corrected.onnx"
    ir.save(result.exports.corrected, corrected)
    config = QuantConfig(input_shapes={"x": (1, 3, 16, 16)})
    again = contents(convert(corrected, result.record, config=config, options=ONE_THREAD), tmp_path / "again")
    assert again["fake_quant_model.onnx"] == first["fake_quant_model.onnx"]
    assert again["deploy_model.onnx"] == first["deploy_model.onnx"]


def test_editing_one_scale_changes_only_that_layer(result: QuantizeResult, model: Path, tmp_path: Path) -> None:
    result.save(tmp_path / "r")
    path = tmp_path / "r_record.txt"
    before = convert(model, path, options=ONE_THREAD).exports
    layers = read_record(path).layers
    third = next(index for index, layer in enumerate(layers) if layer.key == "conv3")
    old = layers[third].activation
    edited = replace(layers[third], activation=replace(old, scale=(old.scale[0] * 2,)))
    record = replace(result.record, layers=(*layers[:third], edited, *layers[third + 1 :]))
    after = convert(model, record, statistics=result.statistics, options=ONE_THREAD).exports
    for a, b in ((before.fake_quant, after.fake_quant), (before.deploy, after.deploy)):
        assert a is not None
        assert b is not None
        assert [node.name for node in a.graph] == [node.name for node in b.graph]
        changed = {name for name in a.graph.initializers if not same(a, b, name)}
        assert changed
        assert all(name.startswith("conv3") for name in changed), changed


def same(a: ir.Model, b: ir.Model, name: str) -> bool:
    left, right = (ir.constant_of(m.graph.initializers[name]) for m in (a, b))
    return left is not None and right is not None and left.tobytes() == right.tobytes()


def test_nothing_is_modified_and_nothing_written_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = tmp_path / "cwd"
    empty.mkdir()
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    source = tmp_path / "source"
    source.mkdir()
    monkeypatch.chdir(empty)
    monkeypatch.setenv("TMPDIR", str(temporary))
    onnx.save(net(), source / "model.onnx", save_as_external_data=True, location="model.data", size_threshold=0)
    for index, feeds in enumerate(images()):
        np.savez(source / f"{index}.npz", **feeds)
    before = tree(source)
    array = images()[0]["x"]
    kept = array.tobytes()
    result = quantize(source / "model.onnx", source, options=ONE_THREAD)
    result.save(tmp_path / "out" / "r")
    export(source / "model.onnx", tmp_path / "out" / "r_record.txt", str(tmp_path / "out" / "again"), options=ONE_THREAD)
    quantize(source / "model.onnx", [{"x": array}], options=ONE_THREAD)
    assert array.tobytes() == kept
    assert tree(source) == before
    assert os.listdir(empty) == os.listdir(temporary) == []
    assert set(tree(tmp_path / "out")) == {f"r_{name}" for name in ALL_FIVE} | {
        f"again_{name}" for name in (*MODELS, "report.json")
    }


def test_a_model_object_is_not_modified(model: Path) -> None:
    given = ir.load(model).model
    before = ir.to_bytes(given)
    result = quantize(given, images(2), options=ONE_THREAD)
    assert ir.to_bytes(given) == before
    assert len(result.record.layers) == 4


def test_saving_over_the_model_is_refused(tmp_path: Path) -> None:
    path = saved(net(), tmp_path, "r_deploy_model.onnx")
    result = quantize(path, images(2), options=ONE_THREAD)
    before = tree(tmp_path)
    with pytest.raises(ExportError, match=r"r_deploy_model\.onnx"):
        result.save(tmp_path / "r")
    assert tree(tmp_path) == before


@pytest.mark.parametrize("batch", [4, 16])
def test_batch_size_changes_no_decision(batch: int, result: QuantizeResult, model: Path) -> None:
    other = quantize(model, images(16, batch=batch), options=ONE_THREAD)
    for one, many in zip(result.record.layers, other.record.layers, strict=True):
        # ONNX Runtime may add the products of a convolution in another order for another batch: float32's last bits
        np.testing.assert_allclose(many.activation.scale, one.activation.scale, rtol=1e-6)
        assert many.activation.zero_point == one.activation.zero_point
        assert many.weight == one.weight
    assert sqnr_of(net(), other) == pytest.approx(sqnr_of(net(), result), abs=0.5)


@pytest.mark.parametrize("batch", [1, 4, 16])
def test_batch_size_changes_no_outlier(batch: int, model: Path) -> None:
    x = np.concatenate([feeds["x"] for feeds in images(16)])
    x[9] *= 1000
    data = [{"x": x[start : start + batch]} for start in range(0, 16, batch)]
    (warning,) = [w for w in quantize(model, data, options=ONE_THREAD).report.warnings if w.startswith("sample")]
    assert warning.startswith("sample 9 is ")
    assert "4 tensors in all" in warning


def test_data_may_be_read_only_once(model: Path) -> None:
    result = quantize(model, (feeds for feeds in images(3)), options=ONE_THREAD)
    assert result.report.samples == 3


def test_progress_tells_the_stages(model: Path) -> None:
    seen: list[tuple[str, int, int | None]] = []
    options = replace(ONE_THREAD, progress=lambda stage, done, total: seen.append((stage, done, total)))
    quantize(model, images(3), options=options)
    assert [entry for entry in seen if entry[0] == "calibrate"] == [("calibrate", 1, 3)] * 3
    assert [stage for stage, _, _ in seen][-1] == "verify"


def test_saved_calibration_of_another_model_is_refused(result: QuantizeResult, tmp_path: Path) -> None:
    other = net()
    array = numpy_helper.to_array(other.graph.initializer[0]) * 2
    other.graph.initializer[0].CopyFrom(numpy_helper.from_array(array, other.graph.initializer[0].name))
    with pytest.raises(CalibrationError, match=r"made from another model than model\.onnx .*Calibrate again with data"):
        quantize(saved(other, tmp_path), statistics=result.statistics, options=ONE_THREAD)


def test_another_calibration_beside_the_record_is_not_used(result: QuantizeResult, tmp_path: Path) -> None:
    result.save(tmp_path / "r")
    other = net()
    array = numpy_helper.to_array(other.graph.initializer[0]) * 2
    other.graph.initializer[0].CopyFrom(numpy_helper.from_array(array, other.graph.initializer[0].name))
    converted = convert(saved(other, tmp_path), tmp_path / "r_record.txt", options=ONE_THREAD)
    assert any("belongs to another model and was not used" in text for text in converted.report.warnings)


def test_full_correction_without_samples_becomes_analytic_and_says_so(model: Path) -> None:
    analytic = quantize(model, images(4), QuantConfig(bias_correction="analytic"), options=ONE_THREAD)
    for asked, told in (("auto", True), ("full", True), ("analytic", False)):
        config = QuantConfig(bias_correction=asked)
        again = quantize(model, statistics=analytic.statistics, config=config, options=ONE_THREAD)
        assert ir.to_bytes(again.exports.fake_quant) == ir.to_bytes(analytic.exports.fake_quant)
        assert any(note.startswith("biases are corrected analytically") for note in again.report.notes) == told


@pytest.mark.parametrize(("algorithm", "settled"), [("ifmr", "full"), ("minmax", "analytic")])
def test_a_full_correction_is_taken_from_saved_statistics_where_the_scales_are_the_same(
    model: Path, algorithm: str, settled: str
) -> None:
    full = quantize(model, images(4), QuantConfig(bias_correction="full"), options=ONE_THREAD)
    config = QuantConfig(algorithm=algorithm, bias_correction="full")
    again = quantize(model, statistics=full.statistics, config=config, options=ONE_THREAD)
    assert again.statistics.bias_correction == settled
    same = ir.to_bytes(again.exports.fake_quant) == ir.to_bytes(full.exports.fake_quant)
    assert same == (settled == "full")
    kept = (again.statistics.bias_shifts is not None, bool(again.statistics.bias_record))
    assert kept == ((True, True) if settled == "full" else (False, False)), "nothing is left of a measurement that is not taken"


def test_another_algorithm_is_decided_from_saved_statistics(result: QuantizeResult, model: Path) -> None:
    config = QuantConfig(algorithm="minmax", bias_correction="analytic")
    other = quantize(model, statistics=result.statistics, config=config, options=ONE_THREAD)
    fresh = quantize(model, images(16), config, options=ONE_THREAD)
    assert other.record == fresh.record


def test_record_that_names_an_unknown_layer_is_refused(result: QuantizeResult, model: Path) -> None:
    wrong = replace(result.record, layers=(replace(result.record.layers[0], key="conv9"), *result.record.layers[1:]))
    with pytest.raises(RecordError, match="conv9"):
        convert(model, wrong, options=ONE_THREAD)


def test_convert_names_the_layers_without_an_entry(result: QuantizeResult, model: Path) -> None:
    """The record decides: what is missing in it stays in float, and the report says so like one of calibrate."""
    missing = result.record.layers[1]
    kept = replace(result.record, layers=tuple(layer for layer in result.record.layers if layer is not missing))
    skips = convert(model, kept, options=ONE_THREAD).report.skips
    assert [(skip.node, skip.reason) for skip in skips] == [(missing.key, "the record has no entry for it")]
    assert convert(model, result.record, options=ONE_THREAD).report.skips == result.report.skips


def test_a_result_is_shown_in_one_line(result: QuantizeResult) -> None:
    shown = repr(result)
    assert "\n" not in shown
    assert f"{len(result.report.layers)} quantized, 0 left in float" in shown
    assert "no deploy model" not in shown
    open_shape = replace(result, report=replace(result.report, deploy_problem="a shape is open"))
    assert "0 left in float, no deploy model (see .report.deploy_problem); see" in repr(open_shape)


def test_convert_without_statistics_says_that_biases_stay(result: QuantizeResult, model: Path) -> None:
    converted = convert(model, result.record, options=ONE_THREAD)
    assert "no calibration file: biases are not corrected" in converted.report.notes


def test_convert_without_samples_says_that_the_integer_kernels_are_not_judged(result: QuantizeResult, model: Path) -> None:
    config = QuantConfig(target="ort")
    kernels = [
        convert(model, result.record, config=config, data=d, options=ONE_THREAD).report.kernels for d in (None, images(2))
    ]
    assert [found is not None and found.judged for found in kernels] == [False, True]


@pytest.mark.parametrize(("asked", "lacking"), [("analytic", "no calibration file"), ("full", "no calibration file")])
def test_convert_refuses_a_correction_it_cannot_make(asked: str, lacking: str, result: QuantizeResult, model: Path) -> None:
    with pytest.raises(CalibrationError, match=f"{asked} bias correction is not possible: there is {lacking}"):
        convert(model, result.record, bias_correction=asked, options=ONE_THREAD)


def test_full_correction_is_refused_where_no_shifts_were_measured(model: Path) -> None:
    known = quantize(model, images(8), QuantConfig(bias_correction="analytic"), options=ONE_THREAD)
    with pytest.raises(CalibrationError, match="holds no measured shifts"):
        convert(model, known.record, statistics=known.statistics, bias_correction="full", options=ONE_THREAD)


def test_random_batches_only_when_asked_for(model: Path) -> None:
    result = quantize(model, options=replace(ONE_THREAD, random=2))
    assert result.report.samples == 2
    assert "calibrated with random numbers" in result.report.warnings[0]


def test_generic_target_has_no_deploy_model(model: Path, tmp_path: Path) -> None:
    result = quantize(model, images(2), QuantConfig(target="generic"), options=ONE_THREAD)
    assert set(contents(result, tmp_path)) == {*ALL_FIVE} - {"deploy_model.onnx"}


@pytest.mark.parametrize("known", [True, False])
def test_convert_for_onnx_runtime_runs_open_sizes_with_those_of_the_calibration_or_given(known: bool, tmp_path: Path) -> None:
    opened = net()
    for entry in (*opened.graph.input, *opened.graph.output):
        for axis, dim in enumerate(entry.type.tensor_type.shape.dim):
            dim.dim_param = f"{entry.name}{axis}"
    path = saved(opened, tmp_path)
    config = QuantConfig(target="ort")
    contents(quantize(path, images(4), config, options=ONE_THREAD), tmp_path)
    if not known:
        (tmp_path / "r_calibration.npz").unlink()
        with pytest.raises(DataError, match=r'Pass --input-shape "x:1,\?,\?,\?"'):
            convert(path, tmp_path / "r_record.txt", config=config, options=ONE_THREAD)
        config = replace(config, input_shapes={"x": (1, 3, 16, 16)})
    again = convert(path, tmp_path / "r_record.txt", config=config, options=ONE_THREAD)
    assert again.report.kernels is not None
    assert again.report.kernels.samples == 2
