"""`amct-lite compare` in a terminal and as JSON."""

from __future__ import annotations

import json

import pytest

from amct_lite.cli.compare_table import print_comparison
from amct_lite.diagnosis.compare import Comparison


def test_a_row_a_tensor_and_the_file_that_was_asked_for(amct, calibrated, digits, samples, tmp_path):
    done = amct(
        *("compare", digits, calibrated.file("deploy_model.onnx"), "--data", samples, "--batches", "8"),
        *("-o", tmp_path / "digits", "--threads", "1"),
    )
    assert done.code == 0
    rows = {line.split()[0]: line.split() for line in done.out.splitlines() if line.strip()}
    assert rows["stem.conv.output"][1] == "Conv"
    assert "output logits: SQNR" in done.out
    assert "not in the second model: block1.relu6.output" in done.out
    written = json.loads((tmp_path / "digits_compare.json").read_text(encoding="utf-8"))
    assert written["tensors"][0]["name"] == "stem.conv.output"
    assert written["samples"] == 8


@pytest.mark.parametrize(("other", "told"), [("m_ort_model.onnx", True), ("another.onnx", False)])
def test_what_the_model_for_onnx_runtime_lacks_is_said_to_be_elsewhere(capsys, other, told):
    print_comparison(Comparison("m.onnx", other, 1, (), (), ("hidden",), ()))
    out = capsys.readouterr().out
    assert "not in the second model: hidden" in out
    assert ("the fake-quant model of its run has them all" in " ".join(out.split())) == told


def test_two_equal_models_have_no_decibels(amct, digits):
    done = amct("compare", digits, digits, "--random", "2", "--input-shape", "images:1,1,8,8")
    assert done.code == 0
    assert "output logits: no difference (2 batches)" in done.out
    assert "inf" not in done.out


def test_eighty_columns_are_enough(monkeypatch, amct, calibrated, digits):
    monkeypatch.setattr("amct_lite.cli.layout.PIPE_WIDTH", 80)
    done = amct("compare", digits, calibrated.file("fake_quant_model.onnx"), "--random", "2", "--input-shape", "images:1,1,8,8")
    assert done.code == 0
    table = done.out.split("output logits")[0]
    assert max(len(line.rstrip()) for line in table.splitlines()) <= 80


def test_samples_or_noise_must_be_asked_for(amct, calibrated, digits):
    done = amct("compare", digits, calibrated.file("fake_quant_model.onnx"))
    assert done.code != 0
    assert "pass --data with samples, or --random N" in done.err
