"""ada_quantize in AMCT's flow: learned from the samples of the calibration runs when the model is saved, whoever saves it."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from corpus import SHARED, needs_shared

import amct_lite as amct
from amct_lite.calibration import store
from amct_lite.compat import kept_samples
from amct_lite.compat.collector import state_path
from amct_lite.compat.kept_samples import read_samples, samples_path
from amct_lite.converting import convert
from amct_lite.errors import CalibrationError

DIGITS = Path(__file__).resolve().parents[2] / "samples" / "digits"
LEARNING = "batch_num: 3 common_config { ada_quantize { num_iteration: 60 } }"
DEPLOY, FAKE = "deploy_model.onnx", "fake_quant_model.onnx"


def digits(count: int, rows: int = 8) -> list[dict[str, np.ndarray]]:
    images = [np.load(file).reshape(1, 1, 8, 8) for file in sorted((DIGITS / "calibration").glob("*.npy"))]
    return [{"images": np.concatenate(images[i * rows : (i + 1) * rows])} for i in range(count)]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return Path(shutil.copy(DIGITS / "digits.onnx", tmp_path / "digits.onnx"))


def prepare(model: Path, config: str = LEARNING) -> tuple[Path, Path]:
    folder = model.parent
    (folder / "ada.cfg").write_text(config, encoding="utf-8")
    amct.create_quant_config(folder / "config.json", model, config_defination=folder / "ada.cfg")
    amct.quantize_model(folder / "config.json", model, folder / "modified.onnx", folder / "record.txt")
    return folder / "modified.onnx", folder / "record.txt"


def calibrated_at_once(model: Path, data: list[dict[str, np.ndarray]]) -> Path:
    """The same by `amct-lite calibrate --config … --trust-data --bias-correction none`."""
    config = replace(amct.load_config(model.parent / "ada.cfg"), trust_data=True, bias_correction="none")
    result = amct.quantize(model, data, config=config)
    result.save(model.parent / "once")
    return model.parent / "once"


def assert_same_files(one: Path, other: Path) -> None:
    for kind in (DEPLOY, FAKE):
        assert Path(f"{one}_{kind}").read_bytes() == Path(f"{other}_{kind}").read_bytes(), kind


def test_what_is_learned_is_that_of_a_calibration_in_one_go(model: Path) -> None:
    modified, record = prepare(model)
    session = amct.CalibrationSession(modified)
    for feeds in digits(3):
        session.run(None, feeds)
    amct.save_model(modified, record, model.parent / "a")
    once = calibrated_at_once(model, digits(3))
    assert record.read_text() == Path(f"{once}_record.txt").read_text()
    assert_same_files(model.parent / "a", once)
    roundings = store.load(state_path(record)).roundings
    assert roundings.keys() == store.load(f"{once}_calibration.npz").roundings.keys() != set()


def test_convert_model_takes_the_roundings_along(model: Path) -> None:
    modified, record = prepare(model, LEARNING.replace("batch_num: 3", "batch_num: 1"))
    amct.CalibrationSession(modified).run(None, digits(1)[0])
    amct.save_model(modified, record, model.parent / "a")
    amct.convert_model(model, record, model.parent / "b")
    assert_same_files(model.parent / "a", model.parent / "b")


def test_amct_lite_convert_takes_them_along_too(model: Path) -> None:
    modified, record = prepare(model, LEARNING.replace("batch_num: 3", "batch_num: 1"))
    amct.CalibrationSession(modified).run(None, digits(1)[0])
    amct.save_model(modified, record, model.parent / "a")
    assert store.load(state_path(record)).roundings
    result = convert(model, record)
    assert any(f"static shapes from {state_path(record)}" in note for note in result.report.notes)
    result.save(model.parent / "b")
    assert_same_files(model.parent / "a", model.parent / "b")


def test_an_edited_scale_costs_its_layer_the_rounding_and_says_so(model: Path, caplog: pytest.LogCaptureFixture) -> None:
    modified, record = prepare(model, LEARNING.replace("batch_num: 3", "batch_num: 1"))
    amct.CalibrationSession(modified).run(None, digits(1)[0])
    amct.save_model(modified, record, model.parent / "a")
    layer = next(iter(store.load(state_path(record)).roundings))
    before, entry = record.read_text().split(f'  key: "{layer}"')
    first = re.search(r"scale_w: (\S+)", entry)
    assert first is not None
    edited = entry.replace(first[0], f"scale_w: {1.5 * float(first[1])}", 1)
    record.write_text(f'{before}  key: "{layer}"{edited}')
    amct.convert_model(model, record, model.parent / "b")
    assert f"{layer} (Conv): its weight is rounded to nearest: its rounding was learned for other scales" in caplog.text


def test_samples_are_seen_by_a_stock_session_and_saved_by_another_process(model: Path) -> None:
    if importlib.util.find_spec("onnxruntime_extensions") is None:
        pytest.skip("onnxruntime-extensions is not installed")
    modified, record = prepare(model)
    session = onnxruntime.InferenceSession(modified, amct.AMCT_SO)
    with pytest.raises(Exception, match="Reshape"):  # a run that fails leaves no sample behind
        session.run(None, {"images": np.full((8, 1, 8, 8), np.nan, np.float32)})
    for feeds in digits(5):  # two more than are asked for
        session.run(None, feeds)
    kept = read_samples(record, 3)
    for expected, found in zip(digits(3), kept, strict=True):
        np.testing.assert_array_equal(found["images"], expected["images"], strict=True)
    script = "import sys, amct_lite as amct; amct.save_model(*sys.argv[1:])"
    subprocess.run([sys.executable, "-c", script, modified, record, model.parent / "a"], check=True)
    assert_same_files(model.parent / "a", calibrated_at_once(model, digits(3)))


def test_only_so_many_bytes_are_kept(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_samples, "KEPT_BYTES", 3000)  # a batch takes some 2,500
    modified, record = prepare(model)
    session = amct.CalibrationSession(modified)
    for feeds in digits(3):
        session.run(None, feeds)
    assert sorted(path.name for path in samples_path(record).iterdir()) == ["000.npz", "001.npz"]
    assert len(read_samples(record, 3)) == 2


def test_nothing_is_kept_where_nothing_is_learned(model: Path) -> None:
    modified, record = prepare(model, "batch_num: 1")
    amct.CalibrationSession(modified).run(None, digits(1)[0])
    assert not samples_path(record).exists()


def test_a_new_calibration_drops_the_old_samples(model: Path) -> None:
    modified, record = prepare(model)
    amct.CalibrationSession(modified).run(None, digits(1)[0])
    assert samples_path(record).exists()
    prepare(model)
    assert not samples_path(record).exists()


def test_lost_or_damaged_samples_are_an_error(model: Path) -> None:
    modified, record = prepare(model)
    session = amct.CalibrationSession(modified)
    for feeds in digits(3):
        session.run(None, feeds)
    second = samples_path(record) / "001.npz"
    content = second.read_bytes()
    second.write_bytes(content[:100])
    with pytest.raises(CalibrationError, match=r"001\.npz is not what a run of the calibration model left"):
        amct.save_model(modified, record, model.parent / "a")
    second.unlink()
    with pytest.raises(CalibrationError, match=r"record\.txt\.samples holds 2 of the 3 batches.*call quantize_model"):
        amct.save_model(modified, record, model.parent / "a")
    second.write_bytes(content)
    state_path(record).unlink()
    with pytest.raises(CalibrationError, match=r"calibration\.npz is gone.*the rounding of stem\.conv"):
        amct.save_model(modified, record, model.parent / "a")
    assert not (model.parent / f"a_{DEPLOY}").exists()


TEXT = """<ir_version: 8, opset_import: ["" : 13]>
g (string[1] t, float[1, 1, 4, 4] x) => (float[1, 1, 4, 4] y, string[1] u)
<float[1, 1, 1, 1] w = {2}>
{ [conv] y = Conv (x, w)
  [pass] u = Identity (t) }
"""


def test_a_model_that_reads_text_learns_nothing(tmp_path: Path) -> None:
    onnx.save(onnx.parser.parse_model(TEXT), tmp_path / "digits.onnx")
    with pytest.raises(amct.AmctError, match=r"input 't' is text.*Use arq_quantize"):
        prepare(tmp_path / "digits.onnx")


@needs_shared
def test_keywords_are_learned_as_by_calibrate(tmp_path: Path) -> None:
    model = Path(shutil.copy(SHARED / "corpus" / "models" / "mlperftiny_kws.onnx", tmp_path))
    with np.load(SHARED / "corpus" / "data" / "kws01_mfcc_int8.npz") as stored:
        features = (stored["x"][900:908].astype(np.float32) - stored["zero_point"]) * stored["scale"]
    data = [{"input_1": x[None].astype(np.float32)} for x in features]
    modified, record = prepare(model, LEARNING.replace("batch_num: 3", "batch_num: 8"))
    session = amct.CalibrationSession(modified)
    for feeds in data:
        session.run(None, feeds)
    amct.save_model(modified, record, tmp_path / "a")
    assert_same_files(tmp_path / "a", calibrated_at_once(model, data))
