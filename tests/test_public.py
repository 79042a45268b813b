"""The public functions take a configuration file of any format, and read it against the model."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import onnx
import onnx_ir
import pytest
from small_nets import ONE_THREAD, images, net, saved

import amct_lite as amct
from amct_lite.compat.configs import write_config
from amct_lite.config import QuantConfig
from amct_lite.errors import ConfigError, ExportError, UnsupportedModelError
from amct_lite.loading import load_prepared
from amct_lite.plan import resolve
from amct_lite.record import format_record

WANTED = QuantConfig(symmetric=True, batches=4, algorithm="hfmg")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return saved(net(), tmp_path)


@pytest.mark.parametrize("kind", ["amct", "cfg", "yaml", "toml", "json"])
def test_quantize_export_and_inspect_take_every_format(kind: str, model: Path, tmp_path: Path) -> None:
    plan = resolve(WANTED, load_prepared(model).prepared)
    file = tmp_path / f"c.{ {'amct': 'json'}.get(kind, kind) }"
    write_config(file, WANTED, plan, kind)
    result = amct.quantize(model, images(8), file, options=ONE_THREAD)
    assert format_record(result.record) == format_record(amct.quantize(model, images(8), WANTED, options=ONE_THREAD).record)
    assert amct.inspect(model, str(file)).plan == plan
    assert amct.load_config(file, model).symmetric
    amct.export(model, result.record, str(tmp_path / "again"), config=file, options=ONE_THREAD)


def test_a_target_that_is_given_wins(model: Path, tmp_path: Path) -> None:
    result = amct.quantize(model, images(8), target="ort", options=ONE_THREAD)
    assert result.exports.target == "ort"
    again = amct.export(model, result.record, str(tmp_path / "again"), target="ort", options=ONE_THREAD)
    assert again.exports.target == "ort"
    assert amct.inspect(model, {"target": "generic"}, target="ort").plan.target == "ort"
    assert amct.inspect(model, {"target": "generic"}).plan.target == "generic"
    with pytest.raises(ConfigError, match=r"target.*'otr'.*did you mean 'ort'"):
        amct.quantize(model, images(8), target="otr")


def test_a_dict_says_what_a_file_says(model: Path) -> None:
    tables = {"activation": {"algorithm": "hfmg", "symmetric": True}, "skip": ["conv1"]}
    assert (
        amct.inspect(model, tables).plan
        == amct.inspect(model, QuantConfig(algorithm="hfmg", symmetric=True, skip=("conv1",))).plan
    )
    with pytest.raises(ConfigError, match=r"activation.algoritm is unknown \(did you mean 'algorithm'"):
        amct.inspect(model, {"activation": {"algoritm": "hfmg"}})


def test_an_inspection_is_shown_in_one_line(model: Path) -> None:
    assert repr(amct.inspect(model)).startswith(
        f"<Inspection of {model.name}: 4 would be quantized, 0 left in float; see .plan"
    )


def test_a_model_in_memory_is_one_of_onnx_ir(model: Path) -> None:
    proto = onnx.load(model)
    assert amct.inspect(onnx_ir.from_proto(proto)).plan == amct.inspect(model).plan
    for call in (amct.inspect, amct.bitops, lambda m: amct.quantize(m, images(1)), lambda m: amct.compare(m, model, images(1))):
        with pytest.raises(UnsupportedModelError, match=r"type ModelProto cannot be taken.*onnx_ir.from_proto"):
            call(proto)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", '{"version": 1,\n"conv11": {"quant_enable": true}}', r"a.json:2: layer 'conv11' is not in the model"),
        ("a.cfg", 'skip_layers: "conv11"', r"a.cfg:1: layer 'conv11' is not in the model \(did you mean 'conv1'"),
        ("a.yaml", "skip: [conv11]", r"a.yaml:1: skip: 'conv11' is no node"),
        (
            "a.txt",
            "target: ort",
            r"a.txt:1: target is no field of AMCTConfig.* as its name ends in none of .yaml, .yml, .toml, .json",
        ),
    ],
)
def test_names_are_checked_against_the_model(name: str, text: str, message: str, model: Path, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=message):
        amct.quantize(model, images(1), tmp_path / name)


def test_report_makes_page_plots_and_json_of_a_run(model: Path, tmp_path: Path) -> None:
    amct.quantize(model, images(8), options=ONE_THREAD).save(tmp_path / "net")
    page = amct.report(tmp_path / "net", plots=tmp_path / "plots", plot_format="svg", json=tmp_path / "all.json")
    assert page == tmp_path / "net_report.html"
    assert "conv1" in page.read_text()
    assert {path.suffix for path in (tmp_path / "plots").iterdir()} == {".svg"}
    assert json.loads((tmp_path / "all.json").read_text())["weights_from"] == "fake_quant"
    elsewhere = amct.report(tmp_path / "net", tmp_path / "other.html", model=model, json=tmp_path / "all.json")
    assert elsewhere.is_file()
    assert json.loads((tmp_path / "all.json").read_text())["weights_from"] == "float"


def test_report_replaces_nothing_that_it_reads(model: Path, tmp_path: Path) -> None:
    amct.quantize(model, images(8), options=ONE_THREAD).save(tmp_path / "net")
    with pytest.raises(ExportError, match="would overwrite the input"):
        amct.report(tmp_path / "net", json=tmp_path / "net_report.json")
    with pytest.raises(ConfigError, match="plot_format = 'gif' is not one of png, svg"):
        amct.report(tmp_path / "net", plots=tmp_path / "plots", plot_format="gif")
    with pytest.raises(ConfigError, match="no run wrote anything under"):
        amct.report(tmp_path / "nothing")


def test_type_checkers_of_users_read_the_annotations() -> None:
    assert (Path(amct.__file__).parent / "py.typed").is_file()
    packaged = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    assert packaged["amct_lite"] == ["py.typed"]
