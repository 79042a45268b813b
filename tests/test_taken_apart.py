"""A model is taken apart for ONNX Runtime's kernels, and again where its record or calibration is used: these decide."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_nets import ONE_THREAD, images, net, saved

from amct_lite import ir
from amct_lite.config import QuantConfig
from amct_lite.converting import convert
from amct_lite.diagnosis.bitops import bitops
from amct_lite.diagnosis.saturation import saturated_shares
from amct_lite.errors import CalibrationError
from amct_lite.loading import load_prepared
from amct_lite.pipeline import quantize
from amct_lite.result import QuantizeResult
from amct_lite.types import Fusion

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


@pytest.mark.parametrize(
    ("made", "used", "said"),
    [("ort", "generic", "was made for the target ort.* used for another"), ("generic", "ort", "was not made for")],
)
def test_a_calibration_of_the_one_kind_is_refused_for_the_other(
    model: Path, tmp_path: Path, made: str, used: str, said: str
) -> None:
    written(model, tmp_path, target=made)
    with pytest.raises(CalibrationError, match=said):
        quantize(model, config=QuantConfig(target=used), statistics=tmp_path / "m_calibration.npz", options=ONE_THREAD)


def test_a_calibration_is_used_again_for_another_method(model: Path, tmp_path: Path) -> None:
    written(model, tmp_path, target="ort")
    config = QuantConfig(target="ort", algorithm="minmax")
    again = quantize(model, config=config, statistics=tmp_path / "m_calibration.npz", options=ONE_THREAD)
    fresh = quantize(model, images(8), config, options=ONE_THREAD)
    assert again.record == fresh.record


def test_what_looks_at_a_record_prepares_the_model_as_it_was(model: Path, tmp_path: Path) -> None:
    result = written(model, tmp_path, target="ort")
    shares = saturated_shares(result.record, tmp_path / "m_calibration.npz", model)
    assert shares.keys() == {"conv1", "conv3"}
    assert bitops(model, tmp_path / "m_record.txt", input_shapes={"x": (1, 3, 16, 16)}).layers


def test_a_model_without_such_operators_is_prepared_alike_for_all(tmp_path: Path) -> None:
    """So that its calibrations serve all targets."""
    path = saved(net(), tmp_path)
    prepared = [load_prepared(path, Fusion(take_apart=apart)) for apart in (False, True)]
    assert not prepared[1].taken_apart
    assert len({ir.checksum(source.prepared) for source in prepared}) == 1
