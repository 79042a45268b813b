"""A model is taken apart for ONNX Runtime's kernels, and again where its record or calibration is used: these decide."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_nets import ONE_THREAD, images, net, saved

from amct_lite import ir
from amct_lite.compat.configs import load_configured
from amct_lite.config import Override, QuantConfig
from amct_lite.converting import convert
from amct_lite.diagnosis.bitops import bitops
from amct_lite.diagnosis.saturation import saturated_shares
from amct_lite.errors import CalibrationError, ConfigError
from amct_lite.loading import fusion_of, load_prepared
from amct_lite.pipeline import quantize
from amct_lite.plan import not_in_record, resolve
from amct_lite.result import QuantizeResult
from amct_lite.types import Fusion, LayerRecord, QParams, QuantRecord

TEXT = """net (float[N,3,16,16] x) => (float[N,8,16,16] y) {
  [conv1] a = Conv <pads=[1,1,1,1]> (x, w1, b1) [act] b = HardSwish (a) [conv3] c = Conv (b, w3, b3) [end] y = Relu (c) }"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return saved(net(TEXT), tmp_path)


def written(model: Path, folder: Path, **settings: object) -> QuantizeResult:
    result = quantize(model, images(8), QuantConfig(bias_correction="analytic", **settings), options=ONE_THREAD)
    result.save(folder / "m")
    return result


def operators(graph: ir.Model) -> set[str]:
    return {node.op_type for node in graph.graph}


@pytest.mark.parametrize("target", ["ort", "generic", "ascend"])
def test_a_record_is_converted_for_any_target_as_it_was_made(model: Path, tmp_path: Path, target: str) -> None:
    """It names a tensor that the model has only when it is taken apart; so does the calibration beside it."""
    first = written(model, tmp_path, target="ort")
    again = convert(model, tmp_path / "m_record.txt", config=QuantConfig(target=target), options=ONE_THREAD)
    assert "act.hardsigmoid:0" in first.record.by_key
    assert "HardSigmoid" in operators(again.exports.fake_quant)
    assert again.report.warnings == ()
    assert ir.to_bytes(again.exports.fake_quant) == ir.to_bytes(first.exports.fake_quant)


def test_a_record_of_another_target_keeps_the_model_whole(model: Path, tmp_path: Path) -> None:
    written(model, tmp_path, target="generic")
    again = convert(model, tmp_path / "m_record.txt", config=QuantConfig(target="ort"), options=ONE_THREAD)
    assert "HardSwish" in operators(again.exports.fake_quant)
    assert again.report.warnings == ()


def test_the_calibration_says_it_where_the_record_names_no_parts(model: Path, tmp_path: Path) -> None:
    first = written(model, tmp_path, target="ort", skip=("act*",))
    assert not any("hardsigmoid" in key for key in first.record.by_key)
    again = convert(model, tmp_path / "m_record.txt", config=QuantConfig(target="ort"), options=ONE_THREAD)
    assert again.report.warnings == ()
    assert ir.to_bytes(again.exports.deploy) == ir.to_bytes(first.exports.deploy)


def test_a_record_without_its_calibration_is_enough(model: Path, tmp_path: Path) -> None:
    written(model, tmp_path, target="ort")
    (tmp_path / "m_calibration.npz").unlink()
    again = convert(model, tmp_path / "m_record.txt", config=QuantConfig(target="ort"), options=ONE_THREAD)
    assert "HardSigmoid" in operators(again.exports.fake_quant)


def test_a_calibration_of_the_whole_says_nothing_of_the_parts(model: Path, tmp_path: Path) -> None:
    written(model, tmp_path, target="generic")
    with pytest.raises(
        CalibrationError, match=r"holds nothing of the parts. Calibrate again with data \(--data and --target ort"
    ):
        quantize(model, config=QuantConfig(target="ort"), statistics=tmp_path / "m_calibration.npz", options=ONE_THREAD)


@pytest.mark.parametrize("balancing", [{}, {"balance": 0.5}, {"balance": 0.5, "balance_fold": True}])
@pytest.mark.parametrize("target", ["generic", "ascend"])
def test_a_calibration_of_the_parts_serves_the_whole(
    model: Path, tmp_path: Path, target: str, balancing: dict[str, object]
) -> None:
    written(model, tmp_path, target="ort", **balancing)
    config = QuantConfig(target=target, bias_correction="analytic", **balancing)
    again = quantize(model, config=config, statistics=tmp_path / "m_calibration.npz", options=ONE_THREAD)
    fresh = quantize(model, images(8), config, options=ONE_THREAD)
    assert "HardSwish" in operators(again.exports.fake_quant)
    assert again.record.by_key.keys() == fresh.record.by_key.keys()
    for ours, theirs in zip(again.record.layers, fresh.record.layers, strict=True):
        assert ours.activation.scale == pytest.approx(theirs.activation.scale, rel=1e-5)  # the parts round otherwise
        assert (ours.activation.zero_point, ours.balance_factor) == (
            theirs.activation.zero_point,
            pytest.approx(theirs.balance_factor, rel=1e-5),
        )
    again.save(tmp_path / "again")
    assert convert(model, tmp_path / "again_record.txt", options=ONE_THREAD).report.warnings == ()


def test_a_calibration_of_the_parts_of_another_model_is_refused(model: Path, tmp_path: Path) -> None:
    written(model, tmp_path, target="ort")
    other = saved(net(TEXT, b1=np.ones(8, np.float32)), tmp_path, "other.onnx")
    with pytest.raises(CalibrationError, match=r"was made from another model than other.onnx"):
        quantize(other, statistics=tmp_path / "m_calibration.npz", options=ONE_THREAD)


def test_a_configuration_that_is_read_for_another_target_takes_the_model_as_that_has_it(model: Path, tmp_path: Path) -> None:
    file = tmp_path / "quant.toml"
    file.write_text('target = "ort"', encoding="utf-8")
    for target, apart in ((None, True), ("ort", True), ("generic", False)):
        config, source = load_configured(file, model, target=target)
        assert (config.target, source.taken_apart) == (target or "ort", apart)


def test_a_calibration_is_used_again_for_another_method(model: Path, tmp_path: Path) -> None:
    written(model, tmp_path, target="ort")
    config = QuantConfig(target="ort", algorithm="minmax")
    again = quantize(model, config=config, statistics=tmp_path / "m_calibration.npz", options=ONE_THREAD)
    fresh = quantize(model, images(8), config, options=ONE_THREAD)
    assert again.record == fresh.record


def test_a_record_that_names_a_limit_alone_takes_the_model_apart() -> None:
    """As of a network with a HardSigmoid and a product of its own, whose Clip reads what is rounded."""
    entry = LayerRecord("gate.hardsigmoid.clip:0", QParams.of(0.1, 0), None, tensor_quantize=True)
    assert fusion_of(QuantRecord((entry,)), Fusion()).take_apart
    assert not fusion_of(QuantRecord((replace(entry, key="gate.clip:0"),)), Fusion()).take_apart


def test_what_looks_at_a_record_prepares_the_model_as_it_was(model: Path, tmp_path: Path) -> None:
    result = written(model, tmp_path, target="ort")
    shares = saturated_shares(result.record, tmp_path / "m_calibration.npz", model)
    assert shares.keys() == {"conv1", "conv3"}
    with_record, alone = (bitops(model, r, input_shapes={"x": (1, 3, 16, 16)}) for r in (tmp_path / "m_record.txt", None))
    assert {name: with_record.totals[name] for name in alone.totals} == alone.totals


def test_bitops_asks_the_calibration_beside_a_record_that_names_the_product_alone(model: Path, tmp_path: Path) -> None:
    result = written(model, tmp_path, target="ort", skip=("act.hardsigmoid",), tensors={"act:*": Override()})
    assert "act:1" in result.record.by_key
    assert not any("hardsigmoid" in key for key in result.record.by_key)
    cost = bitops(model, tmp_path / "m_record.txt", input_shapes={"x": (1, 3, 16, 16)})
    assert {layer.name for layer in cost.layers} == {"conv1", "conv3"}


def test_a_model_without_such_operators_is_prepared_alike_for_all(tmp_path: Path) -> None:
    """So that its calibrations serve all targets."""
    path = saved(net(), tmp_path)
    prepared = [load_prepared(path, Fusion(take_apart=apart)) for apart in (False, True)]
    assert not prepared[1].taken_apart
    assert len({ir.checksum(source.prepared) for source in prepared}) == 1


GATED = """net (float[N,3,16,16] x) => (float[N,8,16,16] y) {
  [conv1] a = Conv <pads=[1,1,1,1]> (x, w1, b1) [act] b = HardSwish (a) [gate] g = Mul (b, a) [conv3] c = Conv (g, w3, b3)
  [act2] d = HardSwish (c) [conv4] e = Conv (d, w5, b3) [end] y = Relu (e) }"""


@pytest.mark.parametrize(
    ("skip", "left"),
    [
        (("HardSwish",), {"gate"}),
        (("act",), {"gate", "act2", "act2.hardsigmoid"}),
        (("act.hardsigmoid",), {"act", "gate", "act2", "act2.hardsigmoid"}),
        (("act?",), {"act", "act.hardsigmoid", "gate"}),
    ],
)
def test_a_skipped_operator_is_skipped_with_all_its_parts(tmp_path: Path, skip: tuple[str, ...], left: set[str]) -> None:
    """Under the name and the type that it has in the user's model, though the prepared one has two others in its place."""
    path = saved(net(GATED, w5=(8, 8, 1, 1)), tmp_path)
    config = QuantConfig(target="ort", skip=skip)
    plan = resolve(config, load_prepared(path, config.folding).prepared)
    assert {read.node for read in plan.reads} == left


def test_what_is_said_of_the_whole_holds_for_its_parts(tmp_path: Path) -> None:
    """But for what is said of a part itself."""
    path = saved(net(GATED, w5=(8, 8, 1, 1)), tmp_path)
    own = {"act.hardsigmoid": Override(algorithm="kl"), "act2.hardsigmoid": Override(algorithm="kl")}
    config = QuantConfig(target="ort", types={"HardSwish": Override(algorithm="minmax")}, skip=("act2",), layers=own)
    plan = resolve(config, load_prepared(path, config.folding).prepared)
    found = {read.key: read.tensor.algorithm for read in plan.reads}
    assert found == {"act.hardsigmoid:0": "kl", "act:0": "kl", "act:1": "minmax", "gate:0": "ifmr", "gate:1": "kl"}


def test_a_wrong_name_is_answered_with_the_operator_of_the_model(tmp_path: Path) -> None:
    path = saved(net(GATED, w5=(8, 8, 1, 1)), tmp_path)
    config = QuantConfig(target="ort", skip=("HardSwich",))
    with pytest.raises(ConfigError, match="did you mean 'HardSwish'"):
        resolve(config, load_prepared(path, config.folding).prepared)


def test_a_run_says_what_the_names_of_parts_mean(model: Path, tmp_path: Path) -> None:
    notes = written(model, tmp_path, target="ort").report.notes
    assert any("HardSwish (1 ×)" in note and "x.hardsigmoid" in note for note in notes)
    assert not any("HardSwish" in note for note in written(model, tmp_path, target="ascend").report.notes)


def test_a_record_of_integers_between_the_layers_says_why_a_pool_has_no_entry(tmp_path: Path) -> None:
    """A layer of the targets ascend and generic, and a tensor of the target ort."""
    pool = "[pool] p = AveragePool <kernel_shape=[2,2]> (b) [conv3] c = Conv (p, w3, b3)"
    pooled = TEXT.replace("[conv3] c = Conv (b, w3, b3)", pool).replace("float[N,8,16,16] y", "float[N,8,15,15] y")
    path = saved(net(pooled), tmp_path)
    record = written(path, tmp_path, target="ort").record
    prepared = load_prepared(path, Fusion(take_apart=True)).prepared
    assert not_in_record(record, prepared, "ort") == ()
    (skip,) = not_in_record(record, prepared, "ascend")
    assert (skip.node, "it has the tensor pool:0 only" in skip.reason) == ("pool", True)


def test_a_pool_that_is_a_layer_is_in_float_because_of_who_reads_it(tmp_path: Path) -> None:
    """As a record of another target has it; its integer kernel cannot write float."""
    pool = "[conv3] c = Conv (b, w3, b3) [pool] p = AveragePool <kernel_shape=[2,2]> (c) [end] y = Tanh (p)"
    text = TEXT.replace("[conv3] c = Conv (b, w3, b3) [end] y = Relu (c)", pool).replace("N,8,16,16] y", "N,8,15,15] y")
    path = saved(net(text), tmp_path)
    written(path, tmp_path, target="generic")
    kernels = convert(path, tmp_path / "m_record.txt", config=QuantConfig(target="ort"), options=ONE_THREAD).report.kernels
    assert kernels is not None
    assert {skip.node: skip.reason for skip in kernels.in_float}["pool"] == "end (Tanh) reads its output as float"
