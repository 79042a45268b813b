"""`create_quant_config`: names for all nodes, arguments that cannot be, and files that are never replaced."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import onnx
import pytest
from small_nets import images, net, saved

import amct_lite as amct
from amct_lite.errors import ConfigError, ExportError

# Two nodes called `same`, two without a name.
UNNAMED = """net (float[N,3,16,16] x) => (float[N,8,16,16] y) {
  a = Conv<pads = [1,1,1,1]>(x, w1)
  [same] b = Relu(a)
  [same] c = Conv(b, w3)
  y = Relu(c)
}"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return saved(net(UNNAMED), tmp_path)


def test_updated_model_and_configuration_speak_of_the_same_names(model: Path, tmp_path: Path) -> None:
    """Contract, section 1: `{op_type}_{index}` for no name, a number behind a name that is taken."""
    amct.create_quant_config(tmp_path / "a.json", model, None, 1, True, None, tmp_path / "named.onnx")
    named = onnx.load(tmp_path / "named.onnx")
    assert [node.name for node in named.graph.node] == ["Conv_0", "same", "same_1", "Relu_3"]
    assert {"Conv_0", "same_1"} <= json.loads((tmp_path / "a.json").read_text()).keys()
    amct.create_quant_config(tmp_path / "b.json", tmp_path / "named.onnx")
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_a_layer_whose_squares_go_into_a_logarithm_is_quantized_as_with_amct(tmp_path: Path) -> None:
    spectrum = "[spectrum] a = Conv(x, w1) b = Mul(a, a) y = Log(b)"
    model = saved(net(f"net (float[N,3,16,16] x) => (float[N,8,h,w] y) {{ {spectrum} }}"), tmp_path)
    amct.create_quant_config(tmp_path / "c.json", model)
    assert json.loads((tmp_path / "c.json").read_text())["spectrum"]["quant_enable"]


def test_nodes_that_got_names_are_told(model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    amct.create_quant_config(tmp_path / "c.json", model)
    with caplog.at_level(logging.INFO):
        amct.quantize_model(tmp_path / "c.json", model, tmp_path / "m.onnx", tmp_path / "r.txt")
    assert "nodes without a name were named" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"skip_layers": ["same_11"]}, ConfigError, r"'same_11' is no node.*did you mean 'same_1'"),
        ({"skip_layers": "same_1"}, ConfigError, r'skip_layers = .same_1. must be a list: \["same_1"\]'),
        ({"batch_num": 0}, ConfigError, "batch_num = 0 must be a whole number of batches, 1 or more"),
        ({"batch_num": None}, ConfigError, "batch_num = None must be a whole number"),
        (
            {"batch_num": 0, "activation_offset": 1},
            ConfigError,
            "batch_num = 0 .*\nactivation_offset = 1 must be",
        ),
        ({"model_file": None}, ConfigError, "model_file = None must be a path: text, or a pathlib.Path"),
        ({"config_file": b"c.json"}, ConfigError, "config_file = b'c.json' must be a path"),
        (
            {"config_defination": 3, "updated_model": ""},
            ConfigError,
            "defination = 3 must be a path.*\nupdated_model = '' must be",
        ),
        ({"config_file": "model.onnx"}, ExportError, "model.onnx would overwrite the input"),
        ({"updated_model": "model.onnx"}, ExportError, "model.onnx would overwrite the input"),
        ({"updated_model": "c.json"}, ExportError, "c.json is to hold two results"),
        ({"config_file": "q.cfg", "config_defination": "q.cfg"}, ExportError, "q.cfg would overwrite the input"),
    ],
)
def test_arguments_that_cannot_be(
    model: Path, monkeypatch: pytest.MonkeyPatch, arguments: dict[str, object], error: type[Exception], message: str
) -> None:
    monkeypatch.chdir(model.parent)
    Path("q.cfg").write_text("batch_num: 1\n")
    before = {path.name: path.read_bytes() for path in model.parent.iterdir()}
    with pytest.raises(error, match=message):
        amct.create_quant_config(**{"config_file": "c.json", "model_file": "model.onnx", **arguments})
    assert {path.name: path.read_bytes() for path in model.parent.iterdir()} == before


def test_convert_model_with_open_inputs_writes_the_fake_quant_model_and_says_what_to_do(model: Path, tmp_path: Path) -> None:
    record = tmp_path / "record.txt"
    record.write_text(amct.format_record(amct.quantize(model, images(2)).record))
    with pytest.raises(amct.AmctError, match=r"input 'x' \(N, 3, 16, 16\) has no fixed shape.* Export the float model"):
        amct.convert_model(model, record, tmp_path / "out" / "net")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["net_fake_quant_model.onnx"]


def test_a_normalization_that_would_ruin_the_weights_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Contract, section 6: left alone with a warning."""
    text = """net (float[1,3,16,16] x) => (float[1,8,16,16] y) {
      [conv] a = Conv<pads = [1,1,1,1]>(x, w1, b1)
      [norm] y = BatchNormalization<epsilon = 0.0>(a, scale, b1, mean, var)
    }"""
    ones = np.ones(8, np.float32)
    model = saved(net(text, scale=ones * 1e38, mean=ones * 0, var=ones * 1e-30), tmp_path)
    amct.create_quant_config(tmp_path / "c.json", model)
    amct.quantize_model(tmp_path / "c.json", model, tmp_path / "m.onnx", tmp_path / "r.txt")
    told = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert ["norm (BatchNormalization) is not folded" in record.getMessage() for record in told] == [True]
