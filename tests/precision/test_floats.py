"""float16 and float32 as choices of their own: what they cost and lose, that they are exported as chosen, who is not offered
them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from counted import delicate
from small_nets import ONE_THREAD, images, net, saved

import amct_lite
from amct_lite import ir
from amct_lite.config import QuantConfig
from amct_lite.converting import convert
from amct_lite.errors import ConfigError, VerificationError
from amct_lite.precision.outcome import Found

HALF = ir.DataType.FLOAT16
ASCEND = QuantConfig(bias_correction="analytic", per_channel="none", input_shapes={"x": (1, 3, 16, 16)})


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return delicate(tmp_path_factory.mktemp("delicate"), conv2=20.0, conv4=20.0)


def search(model: Path, budget: str, **options: object) -> Found:
    chosen = {"config": ASCEND, "options": ONE_THREAD, "rounding": None, "widths": ("W8A8", "W4A8")} | options
    return amct_lite.search_precision(model, images(), budget, **chosen)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def found(model: Path) -> Found:
    return search(model, "bitops=0.6")


def data_types(model: ir.Model, layer: str) -> set[ir.DataType | None]:
    node = next(node for node in model.graph if node.name == layer)
    return {value.dtype for value in node.inputs if value is not None}


def test_what_suffers_is_left_in_float16_and_both_exports_compute_it_so(found: Found) -> None:
    assert found.chosen.picks["conv2"] == found.chosen.picks["conv4"] == "float16"
    assert found.result.exports.deploy is not None
    for exported in (found.result.exports.fake_quant, found.result.exports.deploy):
        assert data_types(exported, "conv2") == data_types(exported, "conv4") == {HALF}
        assert HALF not in data_types(exported, "conv3")
    assert found.result.report.equivalence is not None  # executed, and compared with each other
    assert {skip.reason for skip in found.result.report.skips} == {"the search leaves it in float16 (mixed precision)"}


def test_the_float_model_is_counted_in_float32_also_between_its_layers(tmp_path: Path) -> None:
    # `pad` makes 8·18·18 of 8·16·16 values, which is the peak, and is no layer.
    text = """net (float[N,3,16,16] x) => (float[N,8,18,18] y) {
      [conv1] a = Conv<pads = [1,1,1,1]>(x, w1, b1)
      [pad] b = Pad(a, pads)
      [conv3] y = Conv(b, w3, b3)
    }"""
    path = saved(net(text, pads=np.int64([0, 0, 1, 1, 0, 0, 1, 1])), tmp_path)
    by_name = {strategy.name: strategy.measured for strategy in search(path, "bitops=0.4").strategies}
    assert by_name["float32"].peak_activation_bytes == 4 * 2 * 8 * 18 * 18
    assert by_name["float16"].peak_activation_bytes == 2 * 2 * 8 * 18 * 18


def test_float16_costs_a_quarter_of_float32_and_has_a_loss_of_its_own(found: Found) -> None:
    by_name = {strategy.name: strategy.measured for strategy in found.strategies}
    assert by_name["float32"].bitops == 4 * by_name["float16"].bitops == 4 * found.prices.whole
    assert by_name["float32"].weight_bytes == 2 * by_name["float16"].weight_bytes
    assert by_name["float32"].peak_activation_bytes == 2 * by_name["float16"].peak_activation_bytes
    assert all(0 < loss < 1e-6 for loss in found.losses["float16"].values())  # 11 bits leave 60 dB and more


def test_no_layer_is_left_in_float32_where_float16_is_as_good(model: Path) -> None:
    assert "float32" not in search(model, "bitops=3", limits={"conv1": ("W8A8",)}).chosen.picks.values()


def test_layers_that_must_be_float32_are_told_to_atc(model: Path, tmp_path: Path) -> None:
    found = search(model, "bitops=0.9", limits={"conv3": ("float32",), "conv1": ("W8A8",)})
    assert found.kept_wide == ("conv3",)
    assert data_types(found.result.exports.deploy, "conv3") == {ir.DataType.FLOAT}  # type: ignore[arg-type]
    written = {path.name: path for path in found.save(tmp_path / "m")}
    assert written["m_keep_dtype.cfg"].read_text() == "conv3\n"


def test_configuration_and_record_give_the_same_models_without_a_search(found: Found, model: Path, tmp_path: Path) -> None:
    written = {path.name: path.read_bytes() for path in found.save(tmp_path / "m")}
    assert "m_keep_dtype.cfg" not in written
    again = amct_lite.quantize(model, images(), str(tmp_path / "m_config.json"), options=ONE_THREAD)
    again.save(tmp_path / "again")
    converted = convert(model, tmp_path / "m_record.txt", config=ASCEND, options=ONE_THREAD)
    converted.save(tmp_path / "converted")
    for suffix in ("fake_quant_model.onnx", "deploy_model.onnx"):
        assert (tmp_path / f"again_{suffix}").read_bytes() == written[f"m_{suffix}"]
        assert (tmp_path / f"converted_{suffix}").read_bytes() == written[f"m_{suffix}"]


def test_a_layer_beyond_the_range_of_float16_is_not_offered_it(tmp_path: Path) -> None:
    text = """net (float[N,3,16,16] x) => (float[N,8,16,16] y) {
      [conv1] a = Conv<pads = [1,1,1,1]>(x, w1, b1)
      [conv3] y = Conv(a, w3, b3)
    }"""
    large = (1e5 * np.random.default_rng(0).standard_normal((8, 3, 3, 3))).astype(np.float32)
    path = saved(net(text, w1=large), tmp_path)
    found = search(path, "bitops=3.9")
    assert set(found.chosen.picks.values()) == {"W8A8", "float32"}
    assert any("float16 is not offered to conv1: its values or weights are too large" in note for note in found.notes)
    with pytest.raises(
        ConfigError, match=r"layer 'conv1' is limited to float16, which its values or weights are too large for"
    ):
        search(path, "bitops=1", limits={"conv1": ("float16",)})


def test_a_layer_that_overflows_in_float16_is_not_exported_so(tmp_path: Path) -> None:
    path = saved(net("net (float[N,3,16,16] x) => (float[N,8,16,16] y) { [conv1] a = Conv<pads = [1,1,1,1]>(x, w1, b1) "
                     "[conv3] y = Conv(a, w3, b3) }"), tmp_path)  # fmt: skip
    loud = [{"x": 5e4 * feeds["x"]} for feeds in images()]
    config = QuantConfig(target="generic", skip=("conv1",), float16=("conv1",))
    with pytest.raises(VerificationError, match="layer 'conv1' does not fit into float16"):
        amct_lite.quantize(path, loud, config, options=ONE_THREAD)


def test_onnx_runtimes_integer_kernels_are_not_joined_by_float16(model: Path) -> None:
    found = search(
        model, "bitops=2.1", config=QuantConfig(target="ort", bias_correction="analytic"), widths=("W8A8", "float16")
    )
    assert set(found.chosen.picks.values()) <= {"W8A8", "float32"}
    assert any("float16 is not offered: ONNX Runtime's CPU computes in float32" in note for note in found.notes)
    with pytest.raises(ConfigError, match=r"float16: ONNX Runtime's CPU computes in float32"):
        amct_lite.quantize(model, images(), QuantConfig(target="ort", float16=("conv2",)), options=ONE_THREAD)


def test_names_in_float16_must_be_there(model: Path) -> None:
    with pytest.raises(ConfigError, match=r"float16: 'konv2' is no node.* .did you mean 'conv2'"):
        amct_lite.quantize(model, images(), QuantConfig(skip=("conv2",), float16=("konv2",)), options=ONE_THREAD)


def test_losses_of_float16_may_be_missing_from_a_file(found: Found, model: Path, tmp_path: Path) -> None:
    file = tmp_path / "losses.json"
    file.write_text(found.to_json())
    assert search(model, "bitops=0.6", sensitivity=file).losses == found.losses
    text = found.to_json().replace('"float16": {', '"other": {')
    file.write_text(text)
    assert set(search(model, "bitops=0.6", sensitivity=file).losses["float16"].values()) == {0.0}


def test_local_losses_are_there_for_float16_too(model: Path) -> None:
    found = search(model, "bitops=0.6", sensitivity="local")
    assert found.losses["float16"].keys() == found.losses["W8A8"].keys()
    assert all(0 < loss < 1e-6 for loss in found.losses["float16"].values())
