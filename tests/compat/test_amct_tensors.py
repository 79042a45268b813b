"""`tensor_quantize` in both of AMCT's formats, and through AMCT's flow of calls."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from small_nets import images, net, saved

import amct_lite as amct
from amct_lite import ir
from amct_lite.compat.cfg_config import read_cfg
from amct_lite.compat.cfg_writer import cfg_text
from amct_lite.compat.collector import state_path
from amct_lite.compat.json_config import read_json
from amct_lite.compat.json_writer import json_text
from amct_lite.config import Override, QuantConfig
from amct_lite.errors import CalibrationError, ConfigError
from amct_lite.loading import load_prepared
from amct_lite.plan import resolve
from amct_lite.record import read_record

IFMR = {"num_bits": 8, "max_percentile": 0.999999, "min_percentile": 0.999999, "search_range": [0.7, 1.3], "search_step": 0.01}
WANTED = [
    {"layer_name": "add", "input_index": 0, "activation_quant_params": {**IFMR, "act_algo": "ifmr", "asymmetric": True}},
    {
        "layer_name": "add",
        "input_index": 1,
        "activation_quant_params": {"num_bits": 8, "act_algo": "hfmg", "asymmetric": False},
    },
]
CFG = """
tensor_quantize { layer_name: "add" input_index: 0 ifmr_quantize { asymmetric: true } }
tensor_quantize { layer_name: "add" input_index: 1 hfmg_quantize { asymmetric: false num_of_bins: 2048 } }
"""


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(net(), tmp_path_factory.mktemp("net"))


@pytest.fixture(scope="module")
def model(path: Path) -> ir.Model:
    return load_prepared(path).prepared


def settings(config: QuantConfig, model: ir.Model) -> dict[str, tuple[str, bool, dict[str, object]]]:
    return {r.key: (r.tensor.algorithm, r.tensor.spec.symmetric, dict(r.tensor.options)) for r in resolve(config, model).reads}


def test_both_formats_say_the_same(model: ir.Model) -> None:
    items = json.loads(json.dumps(WANTED))
    items[1]["activation_quant_params"]["num_of_bins"] = 2048
    layers = {f"conv{i}": {} for i in range(1, 5)}
    from_json = read_json(json.dumps({**layers, "tensor_quantize": items}), "q.json", model)
    from_cfg = read_cfg(CFG, "q.cfg", model)
    both = resolve(from_json, model), resolve(from_cfg, model)
    assert json_text(both[0], from_json) == json_text(both[1], from_cfg)
    assert {key: found[:2] for key, found in settings(from_cfg, model).items()} == {
        "add:0": ("ifmr", False),
        "add:1": ("hfmg", True),
    }
    assert settings(from_cfg, model)["add:1"][2] == {"num_of_bins": 2048}


def test_without_settings_a_tensor_is_quantized_as_the_defaults_say(model: ir.Model) -> None:
    text = '{"activation_offset": false, "conv1": {}, "tensor_quantize": [{"layer_name": "add", "input_index": 1}]}'
    (found,) = settings(read_json(text, "q.json", model), model).values()
    assert found[:2] == ("ifmr", True)
    cfg = 'activation_offset: false tensor_quantize { layer_name: "add" input_index: 1 }'
    (found,) = settings(read_cfg(cfg, "q.cfg", model), model).values()
    assert found[:2] == ("ifmr", True)


@pytest.mark.parametrize(("write", "read"), [(json_text, read_json), (cfg_text, read_cfg)], ids=["json", "cfg"])
def test_what_is_written_is_read_again(write, read, model: ir.Model) -> None:
    tensors = {"Add:*": Override(symmetric=True), "add:1": Override(algorithm="hfmg"), "relu1:0": Override()}
    config = QuantConfig(batches=2, tensors=tensors, skip=("conv2",))
    text = write(resolve(config, model), config)
    assert settings(read(text, "q", model), model).keys() == {"relu1:0", "add:0", "add:1"}
    assert write(resolve(read(text, "q", model), model), read(text, "q", model)) == text


@pytest.mark.parametrize("write", [json_text, cfg_text])
def test_a_range_method_without_words_is_refused(write, model: ir.Model) -> None:
    config = QuantConfig(tensors={"add:0": Override(algorithm="minmax")})
    with pytest.raises(ConfigError, match="tensor add:0: range method 'minmax'; AMCT has ifmr and hfmg"):
        write(resolve(config, model), config)


@pytest.mark.parametrize("target_bits", [8, 16])
def test_widths_are_said_in_both_formats(target_bits: int, model: ir.Model) -> None:
    config = QuantConfig(tensors={"add:0": Override(bits=target_bits)})
    for write, read in ((json_text, read_json), (cfg_text, read_cfg)):
        (found,) = resolve(read(write(resolve(config, model), config), "q", model), model).reads
        assert found.tensor.spec.bits == target_bits


def test_sixteen_bits_go_the_whole_way(path: Path, tmp_path: Path) -> None:
    (tmp_path / "q.cfg").write_text(CFG.replace("asymmetric: true", "asymmetric: true dst_type: INT16"), encoding="utf-8")
    amct.create_quant_config(tmp_path / "config.json", path, config_defination=tmp_path / "q.cfg")
    amct.quantize_model(tmp_path / "config.json", path, tmp_path / "modified.onnx", tmp_path / "record.txt")
    amct.CalibrationSession(tmp_path / "modified.onnx").run(None, images(1)[0])
    assert {e.key: e.activation.bits for e in read_record(tmp_path / "record.txt").layers if e.tensor_quantize} == {
        "add:0": 16,
        "add:1": 8,
    }
    amct.save_model(tmp_path / "modified.onnx", tmp_path / "record.txt", tmp_path / "net")
    deploy = ir.load(tmp_path / "net_deploy_model.onnx").model
    kinds = {str(n.name): ir.attribute(n, "dst_type", "") for n in deploy.graph if n.op_type == "AscendAntiQuant"}
    assert kinds == {"add.anti_quant": "INT16", "add.anti_quant1": "INT8"}


def test_an_input_that_is_not_there_is_named_with_its_line(model: ir.Model) -> None:
    config = read_cfg('batch_num: 1\ntensor_quantize { layer_name: "add" input_index: 2 }', "q.cfg", model)
    with pytest.raises(ConfigError, match=r"^q.cfg:2: .*add:2.*: there is no input 2"):
        resolve(config, model)


def test_tensors_alone_are_something_to_quantize(model: ir.Model) -> None:
    skipped = {f"conv{i}": {"quant_enable": False} for i in range(1, 5)}
    config = read_json(json.dumps({**skipped, "tensor_quantize": WANTED}), "q.json", model)
    plan = resolve(config, model)
    assert (plan.layers, [read.key for read in plan.reads]) == ((), ["add:0", "add:1"])


def prepared(path: Path, folder: Path, batch_num: int = 2) -> tuple[Path, Path]:
    config = folder / "config.json"
    amct.create_quant_config(config, path, batch_num=batch_num)
    content = json.loads(config.read_text())
    config.write_text(json.dumps({**content, "tensor_quantize": WANTED}))
    amct.quantize_model(config, path, folder / "modified.onnx", folder / "record.txt")
    return folder / "modified.onnx", folder / "record.txt"


def test_the_flow_calibrates_single_tensors(path: Path, tmp_path: Path) -> None:
    modified, record = prepared(path, tmp_path)
    partial = record.read_text()
    assert partial.count("is_tensor_quantize: true") == 2
    with pytest.raises(CalibrationError, match=r"has no activation factors for .*add:0, add:1"):
        amct.save_model(modified, record, tmp_path / "net")
    session = amct.CalibrationSession(modified)
    for feeds in images(2):
        session.run(None, feeds)
    found = {entry.key: entry for entry in read_record(record).layers}
    assert (found["add:0"].tensor_quantize, found["add:0"].weight) == (True, None)
    assert found["add:1"].activation.zero_point == (0,)  # symmetric
    assert state_path(record).is_file()
    amct.save_model(modified, record, tmp_path / "net")
    deploy = ir.load(tmp_path / "net_deploy_model.onnx").model
    names = {node.name for node in deploy.graph}
    assert {"add.quant", "add.anti_quant", "add.anti_quant1"} <= names
    operators = json.loads((tmp_path / "net_quant.json").read_text())["graph"][0]["op"]
    originals = {op["name"]: op["attr"][0]["value"]["list"]["s"] for op in operators}
    assert originals["add"] == ["add"]
    assert [originals[name] for name in ("add.quant", "add.anti_quant", "add.anti_quant1")] == [[], [], []]


def test_layers_get_the_factors_they_have_without_tensors(path: Path, tmp_path: Path) -> None:
    records = []
    for folder, wanted in ((tmp_path / "with", WANTED), (tmp_path / "without", [])):
        folder.mkdir()
        amct.create_quant_config(folder / "config.json", path)
        content = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**content, "tensor_quantize": wanted}))
        amct.quantize_model(folder / "config.json", path, folder / "modified.onnx", folder / "record.txt")
        amct.CalibrationSession(folder / "modified.onnx").run(None, images(1)[0])
        records.append([entry for entry in read_record(folder / "record.txt").layers if not entry.tensor_quantize])
    for a, b in zip(*records, strict=True):
        assert a.weight == b.weight
        assert a.activation.zero_point == b.activation.zero_point
        # ONNX Runtime fuses other nodes around other bypass nodes: the last digit of an activation differs.
        np.testing.assert_allclose(a.activation.scale, b.activation.scale, rtol=1e-6)


LAYER = {
    "dmq_balancer_param": 0.5,
    "weight_quant_params": {"num_bits": 6, "channel_wise": False, "wts_algo": "ada_quantize", "num_iteration": 10},
}
WEIGHTS = [
    (read_json, json.dumps({**{f"conv{i}": LAYER for i in range(1, 5)}, "tensor_quantize": WANTED})),
    (read_cfg, CFG + "common_config { arq_quantize { channel_wise: false quant_bits: 6 } dmq_balancer {} }"),
    (read_cfg, CFG + "common_config { ada_quantize { num_iteration: 10 } }"),
]


@pytest.mark.parametrize(("read", "text"), WEIGHTS, ids=["json", "cfg", "cfg-ada"])
def test_what_is_said_of_weights_is_not_said_of_tensors(read, text: str, model: ir.Model) -> None:
    assert settings(read(text, "q", model), model).keys() == {"add:0", "add:1"}


def test_a_width_that_a_tensor_cannot_have_is_named_with_its_line(model: ir.Model) -> None:
    items = [
        {"layer_name": "add", "input_index": i, "activation_quant_params": {"num_bits": bits}} for i, bits in [(0, 8), (1, 4)]
    ]
    config = read_json(json.dumps({"conv1": {}, "tensor_quantize": items}, indent=1), "q.json", model)
    with pytest.raises(ConfigError, match=r'^q.json:11: tensor_quantize\["add:1"\]: 4 bits were asked for'):
        resolve(config, model)
