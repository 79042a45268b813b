"""`convert_qat_model`, AMCT's function for models of quantization-aware training."""

from __future__ import annotations

import logging
from pathlib import Path

import onnx
import pytest
from qdq_nets import CODES, onnxruntime_form, torch_form
from small_nets import net, saved

import amct_lite as amct
from amct_lite.errors import StaticShapeError, UnsupportedModelError
from amct_lite.record import read_record


def test_the_files_of_convert_model_and_the_record_if_wanted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, record = saved(torch_form(), tmp_path), tmp_path / "record.txt"
    with caplog.at_level(logging.INFO, logger="amct_lite"):
        amct.convert_qat_model(str(path), str(tmp_path / "out/net"), str(record))
    names = {"net_deploy_model.onnx", "net_fake_quant_model.onnx", "net_quant.json"}
    assert {file.name for file in (tmp_path / "out").iterdir()} == names
    assert [layer.key for layer in read_record(record).layers] == ["conv1", "conv2", "fc", "add:0", "add:1"]
    assert "q3 (QuantizeLinear): left out" in caplog.text
    assert "dB against the model given" in caplog.text
    deploy = onnx.load(tmp_path / "out/net_deploy_model.onnx")
    weights = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in deploy.graph.initializer}
    conv = next(node for node in deploy.graph.node if node.name == "conv1")
    assert (weights[conv.input[1]] == CODES).all()


def test_the_record_is_one_that_convert_model_takes(tmp_path: Path) -> None:
    path, record = saved(torch_form(), tmp_path), tmp_path / "record.txt"
    amct.convert_qat_model(path, f"{tmp_path}/a/", record)
    amct.convert_model(path, record, f"{tmp_path}/b/")
    for name in ("deploy_model.onnx", "fake_quant_model.onnx"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_record_never_replaces_the_model(tmp_path: Path) -> None:
    path = saved(torch_form(), tmp_path)
    with pytest.raises(amct.AmctError, match=r"model\.onnx"):
        amct.convert_qat_model(path, f"{tmp_path}/a/", path)
    assert not (tmp_path / "a").exists()


def test_an_open_shape_leaves_the_fake_quant_model_and_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StaticShapeError, match=r"Export the model with that shape, or .*amct-lite convert.*--input-shape"):
        amct.convert_qat_model(saved(onnxruntime_form(), tmp_path), f"{tmp_path}/out/")
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"fake_quant_model.onnx"}


def test_a_float_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match="is a float model"):
        amct.convert_qat_model(saved(net(), tmp_path), f"{tmp_path}/out/")
