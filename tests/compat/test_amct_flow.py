"""AMCT's flow through its own function names: configuration, calibration model, the user's runs, saved models."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from corpus import SHARED, needs_shared

import amct_lite as amct
from amct_lite.compat.collector import state_path
from amct_lite.errors import CalibrationError, ConfigError, RecordError, StaticShapeError, UnsupportedModelError

ROOT = Path(__file__).resolve().parents[2]
DIGITS = ROOT / "samples" / "digits"
GOLDEN = SHARED / "reference" / "golden"


def digits(count: int, rows: int = 8) -> list[dict[str, np.ndarray]]:
    files = sorted((DIGITS / "calibration").glob("*.npy"))
    images = [np.load(file).reshape(1, 1, 8, 8) for file in files]
    return [{"images": np.concatenate(images[i * rows : (i + 1) * rows])} for i in range(count)]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return Path(shutil.copy(DIGITS / "digits.onnx", tmp_path / "digits.onnx"))


def prepare(model: Path, batch_num: int = 3) -> tuple[Path, Path]:
    """The calibration model and the record of `model`, ready for the user's runs."""
    folder = model.parent
    amct.create_quant_config(folder / "config.json", model, None, batch_num)
    amct.quantize_model(folder / "config.json", model, folder / "modified.onnx", folder / "record.txt")
    return folder / "modified.onnx", folder / "record.txt"


def golden_model(folder: str, source: str, tmp_path: Path) -> Path:
    loaded = onnx.load(GOLDEN / folder / f"{source}.onnx")
    for node in loaded.graph.node:  # AMCT's own marks, which no runtime takes
        for mark in [a for a in node.attribute if a.name == "op_data_type"]:
            node.attribute.remove(mark)
    onnx.save(loaded, tmp_path / "golden.onnx")
    return tmp_path / "golden.onnx"


@needs_shared
@pytest.mark.parametrize("source", ["folded", "float"])
@pytest.mark.parametrize(
    ("folder", "tolerance"),
    [
        ("cnn", 1e-5),  # the same candidate of IFMR's search, float32 rounding; later layers see AMCT's rounded weights
        ("cnn_symmetric", 1e-5),
        ("mlp_hfmg", 1e-5),  # the same of its ranges
    ],
)
def test_records_are_amcts(folder: str, source: str, tolerance: float, tmp_path: Path) -> None:
    model = golden_model(folder, source, tmp_path)
    modified, record = tmp_path / "modified.onnx", tmp_path / "record.txt"
    amct.quantize_model(GOLDEN / folder / "config.json", model, modified, record)
    session = amct.CalibrationSession(modified)
    with np.load(GOLDEN / folder / "data.npz") as data:
        for name in data.files:
            session.run(None, {"input": data[name]})
    ours, theirs = amct.read_record(record), amct.read_record(GOLDEN / folder / "record.txt")
    assert set(ours.by_key) == set(theirs.by_key)
    for expected in theirs.layers:
        got = ours.by_key[expected.key]
        assert got.activation.scale[0] == pytest.approx(expected.activation.scale[0], rel=tolerance), expected.key
        assert got.activation.zero_point == expected.activation.zero_point, expected.key
        assert got.weight is not None
        assert expected.weight is not None
        np.testing.assert_allclose(got.weight.scales, expected.weight.scales, rtol=1e-6)
    amct.save_model(modified, record, tmp_path / "out" / "golden")
    assert (tmp_path / "out" / "golden_deploy_model.onnx").is_file()


def test_three_files_and_the_accuracy_is_kept(model: Path) -> None:
    modified, record = prepare(model)
    session = amct.CalibrationSession(modified)
    for feeds in digits(3):
        session.run(None, feeds)
    amct.save_model(modified, record, f"{model.parent}/out/")
    names = sorted(file.name for file in (model.parent / "out").iterdir())
    assert names == ["deploy_model.onnx", "fake_quant_model.onnx", "quant.json"]
    with np.load(DIGITS / "test.npz") as test:
        images, labels = test["x"], test["y"]
    fake_quant = onnxruntime.InferenceSession(model.parent / "out" / "fake_quant_model.onnx")
    found = fake_quant.run(None, {"images": images})[0].argmax(1)
    assert (found == labels).mean() >= 0.98  # float 0.995; min-max alone keeps 0.99


def test_folded_normalizations_are_listed_with_their_layer(model: Path) -> None:
    modified, record = prepare(model, 1)
    amct.CalibrationSession(modified).run(None, digits(1)[0])
    amct.save_model(modified, record, model.parent / "net")
    written = json.loads((model.parent / "net_quant.json").read_text())
    operators = {op["name"]: op for op in written["graph"][0]["op"]}
    first = operators["stem.conv"]["attr"][0]
    assert written["name"] == "net"
    assert first["key"] == "_datadump_original_op_names"
    assert first["value"]["list"]["val_type"] == 1
    conv, norm = first["value"]["list"]["s"]
    float_nodes = {node.name: node.op_type for node in onnx.load(model).graph.node}
    assert (float_nodes[conv], float_nodes[norm]) == ("Conv", "BatchNormalization")
    keys = [entry["key"] for entry in operators["stem.conv"]["output_desc"][0]["attr"]]
    assert keys == [
        "_datadump_origin_format",
        "_datadump_data_type",
        "_datadump_origin_output_index",
        "_datadump_origin_name",
    ]


def test_outputs_are_those_of_the_model_and_may_be_chosen(model: Path) -> None:
    modified, _ = prepare(model)
    session = amct.CalibrationSession(modified)
    feeds = digits(1)[0]
    plain = onnxruntime.InferenceSession(model)
    for ours, theirs in ((session.get_inputs(), plain.get_inputs()), (session.get_outputs(), plain.get_outputs())):
        assert [(a.name, a.type, a.shape) for a in ours] == [(a.name, a.type, a.shape) for a in theirs]
    every, chosen = session.run(None, feeds), session.run([session.get_outputs()[0].name], feeds)
    assert len(every) == len(onnx.load(model).graph.output)
    np.testing.assert_array_equal(every[0], chosen[0])


def test_fewer_runs_name_the_layers_and_the_counts(model: Path) -> None:
    modified, record = prepare(model)
    amct.CalibrationSession(modified).run(None, digits(1)[0])
    with pytest.raises(CalibrationError, match=r"no activation factors for stem\.conv, .*1 of 3 times.*2 more times"):
        amct.save_model(modified, record, model.parent / "net")
    with pytest.raises(RecordError, match="scale_d is missing"):
        amct.read_record(record)
    assert not list(model.parent.glob("net*"))


def test_more_runs_change_nothing(model: Path) -> None:
    modified, record = prepare(model, 1)
    session = amct.CalibrationSession(modified)
    session.run(None, digits(1)[0])
    before = record.read_bytes(), state_path(record).read_bytes()
    session.run(None, {"images": 100 * digits(1)[0]["images"]})
    amct.CalibrationSession(modified).run(None, {"images": 100 * digits(1)[0]["images"]})
    assert (record.read_bytes(), state_path(record).read_bytes()) == before


def test_runs_in_several_processes_add_up(model: Path) -> None:
    modified, record = prepare(model)
    for number in range(3):
        script = (
            "import numpy as np, amct_lite as amct; "
            f"amct.CalibrationSession({str(modified)!r}).run(None, dict(np.load({str(model.parent / 'feed.npz')!r})))"
        )
        np.savez(model.parent / "feed.npz", **digits(3)[number])
        subprocess.run([sys.executable, "-c", script], check=True)
    several = record.read_text()
    modified, record = prepare(model)
    session = amct.CalibrationSession(modified)
    for feeds in digits(3):
        session.run(None, feeds)
    assert several == record.read_text()


def test_a_run_with_nan_does_not_count(model: Path) -> None:
    modified, record = prepare(model, 1)
    session = amct.CalibrationSession(modified)
    wrong = {"images": np.full((2, 1, 8, 8), np.nan, np.float32)}
    with pytest.raises(CalibrationError, match=r"tensor 'images': sample 0 has NaN"):
        session.run(None, wrong)
    session.run(None, digits(1)[0])
    assert amct.read_record(record).by_key["stem.conv"].activation.scale[0] < 1


def test_a_wild_sample_counts_as_in_amct_and_is_named(model: Path, caplog: pytest.LogCaptureFixture) -> None:
    modified, record = prepare(model, 1)
    feeds = digits(1)[0]
    feeds["images"][3] *= 1000
    amct.CalibrationSession(modified).run(None, feeds)
    assert amct.read_record(record).by_key["stem.conv"].activation.scale[0] > 1
    assert "tensor images: sample 3 reaches" in caplog.text


def test_calling_quantize_model_again_starts_anew(model: Path) -> None:
    modified, record = prepare(model, 1)
    session = amct.CalibrationSession(modified)
    session.run(None, {"images": 100 * digits(1)[0]["images"]})
    wide = amct.read_record(record).by_key["stem.conv"].activation.scale[0]
    prepare(model, 1)
    session.run(None, digits(1)[0])  # even with the session from before: the files decide
    assert amct.read_record(record).by_key["stem.conv"].activation.scale[0] == pytest.approx(wide / 100, rel=0.02)


def test_another_model_for_the_same_record_is_refused(model: Path, tmp_path: Path) -> None:
    modified, _ = prepare(model)
    kept = shutil.copy(modified, tmp_path / "kept.onnx")
    (tmp_path / "config.cfg").write_text('batch_num: 3 skip_layers: "classifier"')
    amct.create_quant_config(tmp_path / "c.json", model, config_defination=tmp_path / "config.cfg")
    amct.quantize_model(tmp_path / "c.json", model, modified, tmp_path / "record.txt")
    amct.CalibrationSession(modified).run(None, digits(1)[0])
    with pytest.raises(CalibrationError, match="collected with another calibration model"):
        amct.CalibrationSession(kept).run(None, digits(1)[0])


def test_a_model_without_calibration_nodes_is_refused(model: Path) -> None:
    with pytest.raises(UnsupportedModelError, match="no complete set of calibration nodes"):
        amct.CalibrationSession(model)


def test_a_calibration_model_is_no_float_model(model: Path) -> None:
    modified, record = prepare(model, 1)
    amct.CalibrationSession(modified).run(None, digits(1)[0])
    with pytest.raises(UnsupportedModelError, match=r"modified.onnx is a calibration model, written by quantize_model"):
        amct.convert_model(modified, record, model.parent / "net")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: amct.save_model("m.onnx", "", "net"), "record_file = '' must be the path of a file"),
        (lambda: amct.save_model("m.onnx", "r.txt", None), "save_path = None must be a path"),
        (lambda: amct.convert_model(None, "r.txt", ""), "model_file = None must be a path"),
        (lambda: amct.convert_qat_model("m.onnx", "net", 1), "record_file = 1 must be a path"),
        (lambda: amct.quantize_model("c.json", "m.onnx", 1, "r.txt"), "modified_onnx_file = 1 must be a path"),
        (lambda: amct.quantize_preprocess(1, "r.txt", "m.onnx", "b.onnx"), "config_file = 1 must be a path"),
        (lambda: amct.accuracy_based_auto_calibration("m.onnx", None, "c.json", "r.txt", 1), "save_dir = 1 must be a path"),
        (lambda: amct.auto_mixed_precision_search("m.onnx", None, None, "net", None), "config = None must be a path"),
    ],
)
def test_arguments_that_are_no_paths_are_named(call, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        call()


def test_convert_model_writes_the_bytes_of_save_model(model: Path) -> None:
    """Open shapes come from the calibration beside the record."""
    modified, record = prepare(model, 1)
    amct.CalibrationSession(modified).run(None, digits(1)[0])
    amct.save_model(modified, record, model.parent / "a")
    amct.convert_model(model, record, model.parent / "b")
    for kind in ("deploy_model", "fake_quant_model"):
        saved, converted = ((model.parent / f"{prefix}_{kind}.onnx").read_bytes() for prefix in "ab")
        assert saved == converted
    dims = onnx.load(model.parent / "a_deploy_model.onnx").graph.input[0].type.tensor_type.shape.dim
    assert [dim.dim_value for dim in dims] == [8, 1, 8, 8]


def test_convert_model_takes_no_shapes_from_the_calibration_of_another_model(
    model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    modified, record = prepare(model, 1)
    amct.CalibrationSession(modified).run(None, digits(1)[0])
    other = onnx.load(model)
    weight = next(t for t in other.graph.initializer if onnx.numpy_helper.to_array(t).ndim == 4)
    weight.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weight) * np.float32(0.5), weight.name))
    onnx.save(other, model.parent / "other.onnx")
    with pytest.raises(StaticShapeError, match=r"input 'images' \(N, 1, 8, 8\)"):
        amct.convert_model(model.parent / "other.onnx", record, model.parent / "b")
    assert "belongs to another model, or other balance factors: it is not used" in caplog.text


def test_remedies_are_settings_of_amct(model: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One scale for a weight whose channels differ by 10^4: channel_wise is the way out; there is no --channel-wise here."""
    uneven = onnx.load(model)
    weight = next(tensor for tensor in uneven.graph.initializer if tensor.name == "classifier.weight")
    values = onnx.numpy_helper.to_array(weight).copy()
    values[1:] *= np.float32(1e-4)
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    onnx.save(uneven, model)
    modified, record = prepare(model, 1)
    amct.CalibrationSession(modified).run(None, digits(1)[0])
    amct.convert_model(model, record, model.parent / "b")
    assert "use a scale a channel (channel_wise: true)" in caplog.text
    assert "--channel-wise" not in caplog.text


def test_batches_of_several_shapes_leave_no_deploy_model(model: Path) -> None:
    modified, record = prepare(model, 2)
    session = amct.CalibrationSession(modified)
    session.run(None, digits(1, rows=8)[0])
    session.run(None, digits(1, rows=4)[0])
    with pytest.raises(StaticShapeError, match=r"input 'images' \(N, 1, 8, 8\).*batches of one shape"):
        amct.save_model(modified, record, model.parent / "net")
    assert [file.name for file in model.parent.glob("net*")] == ["net_fake_quant_model.onnx"]


def test_skipped_layers_are_not_in_the_record(model: Path) -> None:
    amct.create_quant_config(model.parent / "c.json", model, skip_layers=["classifier"], batch_num=1)
    amct.quantize_model(model.parent / "c.json", model, model.parent / "m.onnx", model.parent / "r.txt")
    amct.CalibrationSession(model.parent / "m.onnx").run(None, digits(1)[0])
    assert "classifier" not in amct.read_record(model.parent / "r.txt").by_key


def test_activation_offset_false_is_symmetric(model: Path) -> None:
    amct.create_quant_config(model.parent / "c.json", model, activation_offset=False)
    amct.quantize_model(model.parent / "c.json", model, model.parent / "m.onnx", model.parent / "r.txt")
    amct.CalibrationSession(model.parent / "m.onnx").run(None, digits(1)[0])
    assert {layer.activation.zero_point for layer in amct.read_record(model.parent / "r.txt").layers} == {(0,)}


def test_config_defination_wins_with_a_warning(model: Path, caplog: pytest.LogCaptureFixture) -> None:
    (model.parent / "simple.cfg").write_text("batch_num: 5")
    amct.create_quant_config(model.parent / "c.json", model, ["classifier"], 2, config_defination=model.parent / "simple.cfg")
    assert json.loads((model.parent / "c.json").read_text())["batch_num"] == 5
    assert "ignored" in caplog.text


def test_unknown_skip_layer_is_an_error(model: Path) -> None:
    with pytest.raises(ConfigError, match=r"'clasifier'.*did you mean 'classifier'"):
        amct.create_quant_config(model.parent / "c.json", model, skip_layers=["clasifier"])


def test_updated_model_names_every_node(model: Path) -> None:
    nameless = onnx.load(model)
    for node in nameless.graph.node:
        node.name = ""
    onnx.save(nameless, model)
    amct.create_quant_config(model.parent / "c.json", model, updated_model=model.parent / "named.onnx")
    names = [node.name for node in onnx.load(model.parent / "named.onnx").graph.node]
    assert all(names)
    assert len(set(names)) == len(names)
    assert "Conv_0" in names
