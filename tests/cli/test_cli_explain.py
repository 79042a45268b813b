"""`amct-lite explain` in a terminal and as JSON."""

from __future__ import annotations

import json


def test_a_row_a_layer_then_the_kernels_then_a_summary(amct, calibrated, digits):
    fake_quant = calibrated.file("fake_quant_model.onnx")
    done = amct("explain", fake_quant, "--float", digits, "--input-shape", "images:1,1,8,8", "--threads", "1")
    assert done.code == 0
    rows = {line.split()[0]: line.split() for line in done.out.splitlines() if line.strip()}
    assert rows["stem.conv"][1] in {"QLinearConv", "FusedConv", "Conv"}
    assert "of 6 convolutions and matrix products run as integer kernels" in done.out
    assert "float model" in done.out


def test_json_has_every_layer_and_null_without_a_float_model(amct, calibrated):
    done = amct("explain", calibrated.file("fake_quant_model.onnx"), "--input-shape", "images:1,1,8,8", "--json")
    found = json.loads(done.out)
    assert len(found["layers"]) == 6
    assert found["float_microseconds"] is None


def test_of_a_deploy_model_is_said_how_many_layers_hand_integers_on(amct, calibrated):
    done = amct("explain", calibrated.file("deploy_model.onnx"))
    assert done.code == 0
    assert "of 7 quantized layers hand integers on" in done.out


def test_reasons_stand_below_the_table_in_a_narrow_terminal(monkeypatch, amct, calibrated):
    monkeypatch.setattr("amct_lite.cli.layout.PIPE_WIDTH", 80)
    done = amct("explain", calibrated.file("deploy_model.onnx"))
    assert max(len(line) for line in done.out.splitlines() if "hand integers" not in line) <= 80
    assert "classifier: its output" in done.out


def test_a_float_model_is_told_from_one_that_does_not_fuse(amct, calibrated, digits):
    done = amct("explain", digits, "--input-shape", "images:1,1,8,8")
    assert f"nothing is quantized in {digits.name}. Give the model" in done.out
    assert "nothing is quantized" not in amct("explain", calibrated.file("fake_quant_model.onnx")).out
