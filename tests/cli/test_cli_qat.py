"""Models with QuantizeLinear and DequantizeLinear on the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest
from qdq_nets import onnxruntime_form, torch_form
from small_nets import saved

SHAPE = "x:1,3,8,8"


def test_convert_without_a_record_takes_the_models_own_scales(amct, tmp_path):
    path = saved(onnxruntime_form(), tmp_path)
    done = amct("convert", path, "--input-shape", SHAPE, "-o", tmp_path / "out/x")
    assert done.code == 0
    names = {"record.txt", "fake_quant_model.onnx", "deploy_model.onnx", "report.json"}
    assert {p.name for p in (tmp_path / "out").iterdir()} == {f"x_{name}" for name in names}
    assert "fake-quant against the model given, on random numbers, output y, 2 batches: " in done.out
    assert "left out: the output 'y' reads values that are limited, but not rounded, now" in done.out
    assert "2 layers quantized" in done.out
    again = amct("convert", path, "--record", tmp_path / "out/x_record.txt", "--input-shape", SHAPE, "-o", tmp_path / "y")
    assert again.code == 0
    assert (tmp_path / "y_deploy_model.onnx").read_bytes() == (tmp_path / "out/x_deploy_model.onnx").read_bytes()


def test_a_record_is_checked_against_the_model_that_convert_takes_it_with(amct, tmp_path):
    path = saved(onnxruntime_form(), tmp_path)
    record = tmp_path / "x_record.txt"
    assert amct("convert", path, "--input-shape", SHAPE, "-o", tmp_path / "x").code == 0
    done = amct("record", "check", record, path)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"ok: 2 layers of {record} fit {path}")
    wrong = tmp_path / "wrong.txt"
    wrong.write_text(record.read_text(encoding="utf-8").replace("scale_w", "scale_r").replace("offset_w", "offset_r"))
    codes = [amct(*words).code for words in (("record", "check", wrong, path), ("convert", path, "--record", wrong, "-o", "y"))]
    assert codes == [7, 7]


@pytest.mark.parametrize("form", [onnxruntime_form, torch_form])
def test_bitops_counts_a_model_with_the_scales_that_it_brings_or_with_those_of_a_record(amct, tmp_path, form):
    path = saved(form(), tmp_path)
    assert amct("convert", path, "--input-shape", SHAPE, "--target", "generic", "-o", tmp_path / "x").code == 0
    words = ("bitops", path, "--input-shape", SHAPE, "--json")
    own, recorded = (amct(*words, *more) for more in ((), ("--record", tmp_path / "x_record.txt")))
    assert (own.code, recorded.code) == (0, 0)
    assert own.out == recorded.out
    cost = json.loads(own.out)
    assert {(layer["act_bits"], layer["weight_bits"]) for layer in cost["layers"]} == {(8, 8)}
    assert cost["total"]["bitops"] * 16 == cost["totals"]["fp32"]["bitops"]


def test_bitops_takes_the_record_of_a_model_that_was_calibrated_anew(amct, tmp_path):
    """Its scales are gone then, and for ONNX Runtime a HardSwish is two operators: float32 counts one, no Q and DQ."""
    model = torch_form()
    next(node for node in model.graph.node if node.name == "relu").op_type = "HardSwish"
    path = saved(model, tmp_path)
    assert amct("calibrate", path, "--strip-qdq", "--random", "2", "--target", "ort", "-o", tmp_path / "x").code == 0
    words = ("bitops", path, "--input-shape", SHAPE, "--json")
    own, recorded = (json.loads(amct(*words, *more).out) for more in ((), ("--record", tmp_path / "x_record.txt")))
    assert "relu.hardsigmoid:0" in (tmp_path / "x_record.txt").read_text(encoding="utf-8")
    for figure in ("bitops", "activation_bytes", "peak_activation_bytes"):
        assert recorded["totals"]["fp32"][figure] == own["totals"]["fp32"][figure]
    assert recorded["total"]["bitops"] == own["total"]["bitops"]


def test_convert_compares_on_data(amct, tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(0, 1, (4, 3, 8, 8)).astype(np.float32))
    done = amct("convert", saved(torch_form(), tmp_path), "--data", tmp_path / "x.npy", "-o", tmp_path / "out/")
    assert done.code == 0
    assert "fake-quant against the model given, output y, 4 batches: " in done.out


@pytest.mark.parametrize("option", [("--calibration", "c.npz"), ("--bias-correction", "full")])
def test_convert_without_a_record_has_nothing_to_correct(amct, tmp_path, option):
    done = amct("convert", saved(torch_form(), tmp_path), *option, "-o", tmp_path / "x")
    assert done.code == 3
    assert f"ConfigError: {option[0]} goes with --record only" in done.err


def test_calibrate_drops_the_scales_when_told_so(amct, tmp_path):
    path = saved(torch_form(), tmp_path)
    refused = amct("calibrate", path, "--random", "2", "-o", tmp_path / "x")
    assert refused.code == 4
    assert (
        "`amct-lite convert` (convert_qat_model) keeps its scales; `amct-lite calibrate --strip-qdq` drops them" in refused.err
    )
    done = amct("calibrate", path, "--random", "2", "--strip-qdq", "-o", tmp_path / "x")
    assert done.code == 0
    assert (tmp_path / "x_deploy_model.onnx").is_file()
