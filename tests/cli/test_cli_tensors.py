"""Single tensors on the command line: asked for, reported, in records written by hand."""

from __future__ import annotations

import json

import pytest

from amct_lite import ir

ENTRIES = "".join(
    f'record {{ key: "block1.add:{index}" value {{ scale_d: 0.0{index + 2} offset_d: -3 is_tensor_quantize: true }} }}\n'
    for index in range(2)
)


def test_calibrate_quantizes_and_reports_them(amct, digits, samples, tmp_path):
    done = amct("calibrate", digits, "--data", samples, "--tensor", "Add:*", "-o", tmp_path / "net")
    assert done.code == 0
    rows = [line.split() for line in done.out.splitlines() if line.startswith("block1.add:")]
    assert [(row[0], row[1], row[4]) for row in rows] == [("block1.add:0", "Add", "—"), ("block1.add:1", "Add", "—")]
    assert all(float(row[5]) > 35 for row in rows)  # dB: 8 bits of a tensor without outliers
    assert "7 layers and 2 tensors quantized, 0 left in float" in done.out
    assert "7 layers and 2 tensors, accumulators equal" in done.out
    report = json.loads((tmp_path / "net_report.json").read_text())
    assert [row["name"] for row in report["layers"] if row["tensor"]] == ["block1.add:0", "block1.add:1"]


def test_a_tensor_that_is_not_there_is_an_error(amct, digits, samples, tmp_path):
    done = amct("calibrate", digits, "--data", samples, "--tensor", "block1.ad:0", "-o", tmp_path / "net")
    assert done.code == 3
    assert "'block1.ad' is no node, pattern or operator type of the model (did you mean 'block1.add'?)" in done.err


def test_inspect_shows_them_and_what_stands_against_them(amct, digits):
    done = amct("inspect", digits, "--tensor", "block1.add:1", "--tensor", "classifier:0", "--skip", "classifier")
    rows = [line for line in done.out.splitlines() if line.startswith(("block1.add:1", "classifier:0"))]
    assert "int8 ifmr" in rows[0]
    assert "stays in float and would read it" in " ".join(done.out.split())
    assert "6 layers and 1 tensor would be quantized" in done.out


@pytest.fixture
def by_hand(calibrated, tmp_path):
    path = tmp_path / "hand.txt"
    path.write_text(calibrated.file("record.txt").read_text(encoding="utf-8") + ENTRIES, encoding="utf-8")
    return path


def test_convert_takes_a_record_written_by_hand(amct, digits, by_hand, tmp_path):
    done = amct("convert", digits, "--record", by_hand, "--input-shape", "images:1,1,8,8", "-o", tmp_path / "again")
    assert done.code == 0
    names = {node.name for node in ir.load(tmp_path / "again_deploy_model.onnx").model.graph}
    assert {"block1.add.quant", "block1.add.anti_quant", "block1.add.quant1", "block1.add.anti_quant1"} <= names


def test_show_check_and_diff_know_them(amct, digits, calibrated, by_hand):
    shown = amct("record", "show", by_hand)
    row = next(line for line in shown.out.splitlines() if line.startswith("block1.add:1"))
    assert "[-3.75, 3.9]" in row  # (-128 + 3) * 0.03 and (127 + 3) * 0.03
    assert "7 layers and 2 tensors" in shown.out
    checked = amct("record", "check", by_hand, digits)
    assert checked.out.startswith("ok: 7 layers and 2 tensors of")
    found = json.loads(amct("record", "check", by_hand, digits, "--json").out)
    assert (found["ok"], found["layers"], found["tensors"]) == (True, 7, 2)
    different = amct("record", "diff", calibrated.file("record.txt"), by_hand)
    assert different.code == 1
    assert "+ block1.add:0: only in the second record" in different.out


def test_check_names_the_line_of_an_input_that_is_not_there(amct, digits, by_hand):
    by_hand.write_text(by_hand.read_text(encoding="utf-8").replace("block1.add:1", "block1.add:2"), encoding="utf-8")
    done = amct("record", "check", by_hand, digits)
    assert done.code == 7
    assert "layer 'block1.add:2' (Add) cannot be quantized: there is no input 2: it has 2 inputs, 0 to 1" in done.err
