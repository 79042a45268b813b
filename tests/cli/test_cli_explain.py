"""`amct-lite explain` in a terminal and as JSON."""

from __future__ import annotations

import json

from small_nets import net, saved


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


def test_the_first_step_of_a_decoder_is_explained_and_compared(amct, tmp_path):
    text = "net (float[1,T,8] x, float[1,P,8] past) => (float[1,S,4] y) { k = Concat <axis=1> (past, x) y = MatMul (k, w) }"
    path, sizes = saved(net(text, w=(8, 4)), tmp_path), ("--input-shape", "x:1,1,8;past:1,0,8")
    assert amct("explain", path, *sizes).code == 0
    assert "1 batch" in amct("compare", path, path, "--random", "1", *sizes).out
    assert "past (1, 0, 8)" in amct("bitops", path, *sizes).out


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
