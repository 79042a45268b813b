"""A stock `onnxruntime.InferenceSession` with AMCT_SO, and what AMCT_SO says without onnxruntime-extensions."""

from __future__ import annotations

import importlib.util
import pydoc
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import amct_lite as amct
from amct_lite.compat import dropin
from amct_lite.errors import ConfigError

DIGITS = Path(__file__).resolve().parents[2] / "samples" / "digits"
INSTALLED = importlib.util.find_spec("onnxruntime_extensions") is not None
needs_extra = pytest.mark.skipif(not INSTALLED, reason="onnxruntime-extensions is not installed")


@pytest.fixture
def modified(tmp_path: Path) -> Path:
    shutil.copy(DIGITS / "digits.onnx", tmp_path / "digits.onnx")
    amct.create_quant_config(tmp_path / "c.json", tmp_path / "digits.onnx", batch_num=2)
    amct.quantize_model(tmp_path / "c.json", tmp_path / "digits.onnx", tmp_path / "m.onnx", tmp_path / "r.txt")
    return tmp_path / "m.onnx"


def batches() -> list[dict[str, np.ndarray]]:
    images = [np.load(file).reshape(1, 1, 8, 8) for file in sorted((DIGITS / "calibration").glob("*.npy"))]
    return [{"images": np.concatenate(images[:8])}, {"images": np.concatenate(images[8:16])}]


@pytest.mark.skipif(INSTALLED, reason="onnxruntime-extensions is installed")
def test_without_the_extra_it_says_what_to_install() -> None:
    with pytest.raises(ConfigError, match=r"pip install 'amct-lite\[dropin\]'.*CalibrationSession"):
        _ = amct.AMCT_SO


def test_help_on_the_package_needs_no_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime_extensions", None)  # as if it were not installed
    monkeypatch.setattr(dropin, "_options", dropin._options.__wrapped__)
    assert "quantize" in pydoc.plaintext.document(amct)
    with pytest.raises(ConfigError, match="AMCT_SO needs"):
        _ = amct.AMCT_SO


@needs_extra
def test_stock_runtime_fills_the_same_record(modified: Path) -> None:
    session = onnxruntime.InferenceSession(modified, amct.AMCT_SO)
    plain = onnxruntime.InferenceSession(modified.parent / "digits.onnx")
    assert [o.name for o in session.get_outputs()] == [o.name for o in plain.get_outputs()]
    for feeds in batches():
        session.run(None, feeds)
    stock = (modified.parent / "r.txt").read_text()
    amct.quantize_model(modified.parent / "c.json", modified.parent / "digits.onnx", modified, modified.parent / "r.txt")
    own = amct.CalibrationSession(modified)
    for feeds in batches():
        own.run(None, feeds)
    assert (modified.parent / "r.txt").read_text() == stock
    amct.save_model(modified, modified.parent / "r.txt", modified.parent / "net")


@needs_extra
def test_a_calibration_that_made_room_for_others_goes_on_and_ends_once(modified: Path) -> None:
    whole = modified.parent / "whole"
    shutil.copytree(modified.parent, whole)
    amct.quantize_model(whole / "c.json", whole / "digits.onnx", whole / "m.onnx", whole / "r.txt")
    own = amct.CalibrationSession(whole / "m.onnx")
    session = onnxruntime.InferenceSession(modified, amct.AMCT_SO)
    for feeds in batches():
        own.run(None, feeds)
        session.run(None, feeds)
        dropin._runs.cache_clear()
    session.run(None, {"images": 9 * batches()[0]["images"]})  # too late to count
    assert (modified.parent / "r.txt").read_text() == (whole / "r.txt").read_text()


@needs_extra
def test_a_bad_run_fails_says_why_and_does_not_count(modified: Path, caplog: pytest.LogCaptureFixture) -> None:
    session = onnxruntime.InferenceSession(modified, amct.AMCT_SO)
    with pytest.raises(Exception, match="Reshape"):
        session.run(None, {"images": np.full((2, 1, 8, 8), np.nan, np.float32)})
    assert "sample 0 has NaN" in caplog.text
    for feeds in batches():
        session.run(None, feeds)
    assert amct.read_record(modified.parent / "r.txt").by_key["stem.conv"].activation.scale[0] < 1


@needs_extra
def test_a_damaged_node_fails_the_run_and_not_the_process(modified: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = onnx.load(modified)
    for node in model.graph.node:
        if node.op_type == "AmctCalibration":
            node.attribute[0].s = b"{}"
    onnx.save(model, modified)
    session = onnxruntime.InferenceSession(modified, amct.AMCT_SO)
    with pytest.raises(Exception, match="Reshape"):
        session.run(None, batches()[0])
    assert "a calibration node of the model is damaged" in caplog.text


@needs_extra
def test_a_session_from_before_goes_on_with_new_files(modified: Path) -> None:
    session = onnxruntime.InferenceSession(modified, amct.AMCT_SO)
    record = modified.parent / "r.txt"
    for feeds in batches() * 2:
        session.run(None, feeds)
    first = record.read_text()
    amct.quantize_model(modified.parent / "c.json", modified.parent / "digits.onnx", modified, record)
    assert record.read_text() != first
    for feeds in batches():
        session.run(None, feeds)
    assert record.read_text() == first
