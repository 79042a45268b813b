"""Layers kept apart from their normalizations: the same prepared model in every way to the exports, and said in the record."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from small_nets import ONE_THREAD, images, net, saved

import amct_lite as amct
from amct_lite import ir
from amct_lite.cli import group
from amct_lite.compat.configs import load_any_config, load_configured, write_config
from amct_lite.config import Override, QuantConfig
from amct_lite.converting import convert
from amct_lite.errors import CalibrationError, ConfigError
from amct_lite.loading import load_prepared
from amct_lite.pipeline import quantize
from amct_lite.plan import resolve
from amct_lite.record import read_record
from amct_lite.types import FUSE_ALL, Fusion, QuantRecord

# conv2 has a normalization of small operators behind it, front stands before conv3, and conv4 (in float) has one, too.
NORMS = """net (float[1,3,16,16] x) => (float[1,8,14,14] y) {
  [conv1] a = Conv<pads = [1,1,1,1]>(x, w1, b1)
  [norm1] b = BatchNormalization(a, gamma, beta, mean, var)
  [relu1] c = Relu(b)
  [conv2] d = Conv(c, w3)
  [mul2] e = Mul(d, factor)
  [add2] f = Add(e, shift)
  [relu2] g = Relu(f)
  [front] h = BatchNormalization(g, gamma, beta, mean, var)
  [conv3] i = Conv(h, w5)
  [relu3] j = Relu(i)
  [conv4] k = Conv(j, w6)
  [norm4] y = BatchNormalization(k, gamma, beta, mean, var)
}"""
RNG = np.random.default_rng(3)
NUMBERS = {name: RNG.uniform(0.5, 1.5, 8).astype(np.float32) for name in ("gamma", "beta", "mean", "var")} | {
    "factor": np.full((1, 8, 1, 1), 1.25, np.float32),
    "shift": np.full((1, 8, 1, 1), 0.25, np.float32),
    "w5": (8, 8, 3, 3),
    "w6": (8, 8, 1, 1),
}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return saved(net(NORMS, **NUMBERS), tmp_path)


def nodes(model: ir.Model) -> list[str]:
    return [str(node.name) for node in model.graph]


@pytest.mark.parametrize(
    ("fusion", "apart", "unfused"),
    [
        (FUSE_ALL, set(), set()),
        (Fusion(skip=("conv1",)), {"norm1"}, {"conv1"}),
        (Fusion(skip=("norm1",)), {"norm1"}, {"conv1"}),
        (Fusion(skip=("add2",)), {"mul2", "add2"}, {"conv2"}),
        (Fusion(skip=("front",)), {"front"}, {"conv3"}),
        (Fusion(skip=("norm*", "conv2")), {"norm1", "mul2", "add2", "norm4"}, {"conv1", "conv2", "conv4"}),
        (Fusion(enabled=False), {"norm1", "mul2", "add2", "front", "norm4"}, {"conv1", "conv2", "conv3", "conv4"}),
        (Fusion(skip=("BatchNormalization",)), {"norm1", "front", "norm4"}, {"conv1", "conv3", "conv4"}),
        (Fusion(apart=frozenset({"conv1", "not there"})), {"norm1"}, {"conv1"}),
    ],
)
def test_nothing_is_folded_into_a_layer_that_stays_apart(
    model: Path, fusion: Fusion, apart: set[str], unfused: set[str]
) -> None:
    source = load_prepared(model, fusion)
    normalizations = {"norm1", "mul2", "add2", "front", "norm4"}
    assert set(nodes(source.prepared)) & normalizations == apart
    assert set(source.unfused) == unfused
    again = load_prepared(model, Fusion(apart=frozenset(source.unfused)))  # the layers' names alone say all of it
    assert ir.checksum(again.prepared) == ir.checksum(source.prepared)


def test_an_addition_of_two_tensors_takes_nothing_with_it(tmp_path: Path) -> None:
    residual = """net (float[1,3,16,16] x) => (float[1,8,16,16] y) {
      [conv1] a = Conv<pads = [1,1,1,1]>(x, w1, b1)
      [norm1] b = BatchNormalization(a, gamma, beta, mean, var)
      [relu1] c = Relu(b)
      [conv2] d = Conv(c, w3)
      [norm2] e = BatchNormalization(d, gamma, beta, mean, var)
      [sum] y = Add(e, c)
    }"""
    source = load_prepared(saved(net(residual, **NUMBERS), tmp_path, "r.onnx"), Fusion(skip=("Add",)))
    assert nodes(source.prepared) == ["conv1", "relu1", "conv2", "sum"]


def test_unknown_names_are_all_told_with_the_place_and_the_nearest_name(model: Path, tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("batches: 1\nskip_fusion: [norm2, nothing]\n")
    message = r"c.yaml:2: skip_fusion: 'norm2' is no node, pattern .*did you mean 'norm4'.*\n.*'nothing' is no node"
    with pytest.raises(ConfigError, match=message):
        amct.quantize(model, images(2), config)


def test_a_normalization_behind_a_quantized_layer_stands_in_float_behind_its_dequant(model: Path) -> None:
    result = quantize(model, images(2), QuantConfig(skip_fusion=("norm1",)), options=ONE_THREAD)
    deploy = result.exports.deploy
    assert deploy is not None
    assert nodes(deploy)[:5] == ["conv1.quant", "conv1", "conv1.dequant", "norm1", "relu1"]
    assert [node.op_type for node in deploy.graph][3] == "BatchNormalization"
    assert result.record.by_key["conv1"].skip_fusion is True
    assert result.record.by_key["conv2"].skip_fusion is None


@pytest.mark.parametrize(
    "config",
    [QuantConfig(fusion=False, skip=("conv4",)), QuantConfig(skip_fusion=("norm1", "add2", "conv4"), skip=("conv4",))],
    ids=["none", "some"],
)
def test_record_and_calibration_file_give_the_same_models_again(model: Path, config: QuantConfig, tmp_path: Path) -> None:
    """Also where a layer that stays in float, and so has no record, was kept apart."""
    first = quantize(model, images(4), config, options=ONE_THREAD)
    written = {path.name: path for path in first.save(tmp_path / "a")}
    again = convert(model, written["a_record.txt"], options=ONE_THREAD)
    decided = quantize(model, None, config, statistics=written["a_calibration.npz"], options=ONE_THREAD)
    wanted = written["a_deploy_model.onnx"].read_bytes()
    for name, result in (("b", again), ("c", decided)):
        files = {path.name: path for path in result.save(tmp_path / name)}
        assert files[f"{name}_deploy_model.onnx"].read_bytes() == wanted
    assert again.report.warnings == first.report.warnings


def test_a_calibration_with_other_layers_apart_is_refused(model: Path) -> None:
    known = quantize(model, images(2), QuantConfig(skip_fusion=("conv1",)), options=ONE_THREAD).statistics
    with pytest.raises(CalibrationError, match="made with conv1 kept apart from normalizations, now it is no layer"):
        quantize(model, None, statistics=known, options=ONE_THREAD)


def test_a_record_alone_says_which_layers_stay_apart(model: Path) -> None:
    record = quantize(model, images(2), options=ONE_THREAD).record
    said = QuantRecord(tuple(replace(layer, skip_fusion=layer.key == "conv1") for layer in record.layers))
    assert set(nodes(convert(model, said, options=ONE_THREAD).source.prepared)) & {"norm1", "mul2"} == {"norm1"}


@pytest.mark.parametrize("kind", ["amct", "cfg", "yaml", "toml"])
def test_every_format_keeps_the_wish(model: Path, kind: str, tmp_path: Path) -> None:
    config = QuantConfig(fusion=False, skip_fusion=("conv1", "add2"), batches=1, joint_quant=kind in {"amct", "cfg"})
    path = tmp_path / f"config.{'json' if kind == 'amct' else kind}"
    write_config(path, config, resolve(config, load_prepared(model).prepared), kind)
    read, source = load_configured(path, model)
    assert (read.fusion, read.skip_fusion, read.joint_quant) == (False, config.skip_fusion, config.joint_quant)
    assert "norm1" in nodes(source.prepared)
    assert load_any_config(path).folding == config.folding


@pytest.mark.parametrize("said", [{"do_fusion": False}, {"skip_fusion_layers": ["norm1", "conv4"]}])
def test_amcts_flow_keeps_layers_apart(model: Path, said: dict[str, object], tmp_path: Path) -> None:
    config, modified, record = (tmp_path / name for name in ("config.json", "modified.onnx", "record.txt"))
    amct.create_quant_config(config, model, ["conv4"])
    config.write_text(json.dumps(json.loads(config.read_text()) | said))
    amct.quantize_model(config, model, modified, record)
    assert "skip_fusion: true" in record.read_text()
    amct.CalibrationSession(modified).run(None, images(1)[0])
    assert read_record(record).by_key["conv1"].skip_fusion is True
    amct.save_model(modified, record, tmp_path / "out" / "net")
    kept = {node.name for node in onnx.load(tmp_path / "out" / "net_deploy_model.onnx").graph.node}
    assert {"norm1", "norm4"} <= kept
    assert ("add2" in kept) == ("do_fusion" in said)
    amct.convert_model(model, record, tmp_path / "again" / "net")
    assert "norm1" in {node.name for node in onnx.load(tmp_path / "again" / "net_deploy_model.onnx").graph.node}


def test_a_normalization_that_stays_may_be_named_like_any_other_node(model: Path, tmp_path: Path) -> None:
    said = 'tensor_quantize { layer_name: "norm1" input_index: 0 ifmr_quantize {} }'
    (tmp_path / "q.cfg").write_text(f"batch_num: 1 do_fusion: false {said}")
    result = amct.quantize(model, images(1), tmp_path / "q.cfg", options=ONE_THREAD)
    assert "norm1:0" in result.record.by_key
    (tmp_path / "q.cfg").write_text(f"batch_num: 1 {said}")
    with pytest.raises(ConfigError, match="norm1"):
        amct.quantize(model, images(1), tmp_path / "q.cfg")


def test_amcts_flow_names_the_line_of_an_unknown_layer(model: Path, tmp_path: Path) -> None:
    (tmp_path / "q.cfg").write_text('batch_num: 1\nskip_fusion_layers: "conv11"\n')
    with pytest.raises(ConfigError, match=r"q.cfg:2: skip_fusion_layers: 'conv11' is no node.*did you mean 'conv1'"):
        amct.create_quant_config(tmp_path / "c.json", model, config_defination=tmp_path / "q.cfg")


def test_shift_bit_is_kept_and_the_user_is_told_that_it_is_not_used(model: Path, tmp_path: Path) -> None:
    record = quantize(model, images(2), options=ONE_THREAD).record
    shifted = QuantRecord((replace(record.layers[0], shift_bit=(1,)), *record.layers[1:]))
    result = convert(model, shifted, options=ONE_THREAD)
    assert result.record.layers[0].shift_bit == (1,)
    assert any("shift_bit of conv1 is not used" in note for note in result.report.notes)


def test_record_check_sees_the_normalizations_that_the_record_leaves(model: Path, tmp_path: Path) -> None:
    config = QuantConfig(skip_fusion=("conv1",), tensors={"norm1:0": Override()})
    text = amct.format_record(quantize(model, images(1), config, options=ONE_THREAD).record)
    (tmp_path / "r.txt").write_text(text)
    assert CliRunner().invoke(group, ["record", "check", str(tmp_path / "r.txt"), str(model)]).exit_code == 0


def test_joint_quant_is_told_to_change_nothing(model: Path) -> None:
    result = quantize(model, images(2), QuantConfig(joint_quant=True), options=ONE_THREAD)
    assert any("joint_quant changes nothing here" in note for note in result.report.notes)
