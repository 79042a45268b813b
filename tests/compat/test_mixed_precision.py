"""auto_mixed_precision_search: AMCT's names, its configuration and its evaluators."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from amct_evaluator import FourSamples
from counted import delicate

import amct_lite as amct
from amct_lite.errors import ConfigError
from amct_lite.record import read_record

CONFIG = """compress_ratio: 4.0
test_iteration: 1
quant_bit_limit { layer_name: "conv1" data_range: FLOAT data_range: INT8 }
"""


class Evaluator(FourSamples):
    """Any loss is accepted."""

    def metric_eval(self, original_metric: float, new_metric: float) -> tuple[bool, float]:
        return True, original_metric - new_metric


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return delicate(tmp_path, conv4=20.0)


def search(model: Path, text: str, **options: object) -> Path:
    config = model.parent / "amc.cfg"
    config.write_text(text, encoding="utf-8")
    amct.auto_mixed_precision_search(model, None, str(config), str(model.parent / "out/m"), Evaluator(model), **options)  # type: ignore[arg-type]
    return model.parent / "out"


def test_bits_models_and_a_configuration_of_amct_are_written(model: Path) -> None:
    out = search(model, CONFIG)
    bits = {
        layer: entry["num_bits"]
        for layer, entry in json.loads((out / "m_auto_mixed_precision_search_bits.json").read_text()).items()
    }
    assert list(bits) == ["conv1", "conv2", "conv3", "conv4"]
    assert set(bits.values()) <= {4, 8, 16}
    assert bits["conv1"] in {8, 16}
    found = json.loads((out / "m_search.json").read_text())
    assert found["chosen"]["bitops"] <= found["cost_of_the_float_model"] / 4
    record = read_record(out / "m_record.txt").by_key
    config = json.loads((out / "m_auto_mixed_precision_search_config.json").read_text())
    for layer, number in bits.items():
        assert config[layer]["quant_enable"] == (number != 16)
        if number != 16:
            assert record[layer].activation.bits == number == config[layer]["weight_quant_params"]["num_bits"]
    assert (out / "m_deploy_model.onnx").is_file()


def test_a_ratio_is_met_by_the_layers_that_can_be_quantized(model: Path) -> None:
    found = json.loads((search(model, "compress_ratio: 3.3\ntest_iteration: 1") / "m_search.json").read_text())
    assert found["chosen"]["bitops"] <= found["cost_of_the_float_model"] / 3.3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("test_iteration: 1", "compress_ratio is missing"),
        ("compress_ratio: 17", r"amc\.cfg:1: compress_ratio = 17 must be above 1 and at most 16"),
        ("compress_ratio: 1", "must be above 1"),
        ("compression_ratio: 4", "is no field of AutoMixedPrecisionConfig .did you mean 'compress_ratio'"),
        ('compress_ratio: 4\nptq_cfg: "absent.cfg"', r"amc\.cfg:2: ptq_cfg = 'absent\.cfg' does not exist"),
        ("compress_ratio: 4\nquant_bit_limit { layer_name: 'conv1' data_range: INT3 }", "INT3"),
        ("compress_ratio: 4\nquant_bit_limit { layer_name: 'conv1' }", "needs a layer_name and a data_range"),
        ("compress_ratio: 4\nquant_bit_limit { layer_name: 'conv9' data_range: INT8 }", "matches 'conv9' .did you mean"),
        (
            "compress_ratio: 15.9\nquant_bit_limit { layer_name: 'conv1' data_range: INT8 }",
            "cannot be met: the smallest",
        ),
    ],
)
def test_what_is_wrong_with_a_configuration_is_said(model: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        search(model, text)
    assert not (model.parent / "out").exists()


def test_a_configuration_that_is_no_text_is_said(model: Path) -> None:
    config = model.parent / "amc.cfg"
    config.write_bytes(b"compress_ratio: 4.0 # \xff")
    with pytest.raises(ConfigError, match=r"amc\.cfg is no configuration: it is not UTF-8 text \(byte 22\)"):
        amct.auto_mixed_precision_search(model, None, config, "out", Evaluator(model))


def test_only_what_adds_up_is_searched_with(model: Path) -> None:
    with pytest.raises(ConfigError, match="'CosineSimilarity' cannot be searched with"):
        search(model, CONFIG, sensitivity="CosineSimilarity")
