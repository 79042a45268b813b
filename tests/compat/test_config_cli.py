"""`amct-lite config create|check|convert` and `--config`, with every format; the same settings travel through all of them."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from amct_lite.cli import group
from amct_lite.compat.configs import load_any_config
from amct_lite.config import QuantConfig, format_config, load_config
from amct_lite.errors import ConfigError, ExportError
from amct_lite.loading import load_prepared
from amct_lite.plan import resolve
from amct_lite.types import QuantPlan

DIGITS = Path(__file__).resolve().parents[2] / "samples" / "digits"
MODEL = DIGITS / "digits.onnx"
SUFFIXES = ("json", "cfg", "yaml", "yml", "toml")


def run(*words: str | Path) -> Result:
    """The command's result; its errors are raised, as `main` turns them into messages."""
    return CliRunner().invoke(group, list(map(str, words)), standalone_mode=False, catch_exceptions=False)


def plan_of(file: Path) -> QuantPlan:
    prepared = load_prepared(MODEL).prepared
    return resolve(load_any_config(file, prepared), prepared)


@pytest.fixture
def rich(tmp_path: Path) -> Path:
    """A configuration that says something of everything that all formats have."""
    path = tmp_path / "rich.yaml"
    path.write_text("""
        batches: 3
        skip: [classifier]
        activation: {algorithm: hfmg, options: {num_of_bins: 2048}}
        types: {AveragePool: {activation: {symmetric: true}}}
        layers:
          block1.*:
            activation: {algorithm: ifmr, options: {search_step: 0.02}}
            weight: {per_channel: none, algorithm: ada, options: {warm_start: 0.3}}
          block2.depthwise: {activation: {bits: 16}, weight: {bits: 7}}
    """)
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_created_file_fits_the_model_and_says_what_the_options_say(suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"quant.{suffix}"
    made = run("config", "create", MODEL, "-o", file, "--algo", "hfmg", "--symmetric", "--skip", "classifier", "--batches", "5")
    assert "quant." in made.output
    assert "1 stays in float" in made.output
    config = load_any_config(file, load_prepared(MODEL).prepared)
    plan = plan_of(file)
    assert config.batches == 5
    assert {(layer.inputs[0].algorithm, layer.inputs[0].spec.symmetric) for layer in plan.layers} == {("hfmg", True)}
    assert [skip.node for skip in plan.skips] == ["classifier"]
    assert run("config", "check", file, MODEL).output.startswith(f"ok: {file} fits {MODEL}; ")


def test_created_json_is_amct_s_and_lists_every_layer(tmp_path: Path) -> None:
    run("config", "create", MODEL, "-o", tmp_path / "q.json", "--skip", "classifier")
    content = json.loads((tmp_path / "q.json").read_text())
    layers = {name: table["quant_enable"] for name, table in content.items() if isinstance(table, dict)}
    assert list(layers) == sorted(layers)
    assert [name for name, enabled in layers.items() if not enabled] == ["classifier"]
    assert {layer.name for layer in plan_of(tmp_path / "q.json").layers} == layers.keys() - {"classifier"}


def test_own_json_on_request(tmp_path: Path) -> None:
    run("config", "create", MODEL, "-o", tmp_path / "q.json", "--format", "json", "--algo", "kl")
    assert load_config(tmp_path / "q.json") == QuantConfig(algorithm="kl")


@pytest.mark.parametrize("command", ["check", "convert"])
def test_a_model_in_the_place_of_the_file_is_told(command: str, tmp_path: Path) -> None:
    written = ["-o", str(tmp_path / "q.toml")] if command == "convert" else []
    done = CliRunner().invoke(group, ["config", command, str(MODEL), "q.yaml", *written])
    assert (done.exit_code, "is a model, which comes behind it" in done.output) == (2, True)


def test_a_file_that_is_no_text_is_told_before_a_model_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "q.cfg").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"q\.cfg is no configuration: it is not UTF-8 text \(byte 0\)"):
        run("config", "check", tmp_path / "q.cfg", tmp_path / "nosuch.onnx")


def test_a_target_refuses_what_it_refuses_when_calibrating(tmp_path: Path) -> None:
    file = tmp_path / "wide.yaml"
    file.write_text("activation: {bits: 16}")
    assert "; for the target ascend 7 layers to quantize, none stays in float." in run("config", "check", file, MODEL).output
    with pytest.raises(ConfigError, match=r"activation.bits = 16 of stem.conv \(Conv\): the integer kernels of ONNX Runtime"):
        run("config", "check", file, MODEL, "--target", "ort")


def test_the_target_of_the_file_holds_where_no_other_is_named(tmp_path: Path) -> None:
    file = tmp_path / "ort.yaml"
    file.write_text("target: ort")
    assert "; for the target ort 6 layers and " in run("config", "check", file, MODEL).output
    assert "; for the target generic 7 layers" in run("config", "check", file, MODEL, "--target", "generic").output


@pytest.mark.parametrize("through", SUFFIXES)
def test_converting_keeps_the_plan(through: str, rich: Path, tmp_path: Path) -> None:
    other, back = tmp_path / f"other.{through}", tmp_path / "back.toml"
    run("config", "convert", rich, MODEL, "-o", other)
    run("config", "convert", other, MODEL, "-o", back)
    wanted = resolve(load_config(rich), load_prepared(MODEL).prepared)
    assert said(plan_of(other)) == said(wanted)
    assert said(plan_of(back)) == said(wanted)
    assert load_any_config(back).batches == 3


def said(plan: QuantPlan) -> dict[str, object]:
    """What the plan says of each layer; options that are left out are at their defaults, as in files that spell them out."""
    defaults = {"max_percentile": 0.999999, "min_percentile": 0.999999, "search_range": (0.7, 1.3), "search_step": 0.01}
    found: dict[str, object] = {skip.node: "float" for skip in plan.skips}
    for layer in plan.layers:
        tensor = layer.inputs[0]
        options = {**(defaults if tensor.algorithm == "ifmr" else {}), **dict(tensor.options)}
        found[layer.name] = (tensor.algorithm, options, tensor.spec, layer.weight_spec)
    return found


@pytest.mark.parametrize("text", ['{"version": 1, "stem.conv": {}}', '{"stem.conv": {"quant_enable": true}}'])
def test_amct_s_json_without_a_model_keeps_what_is_listed(text: str, tmp_path: Path) -> None:
    (tmp_path / "q.json").write_text(text)
    run("config", "convert", tmp_path / "q.json", "-o", tmp_path / "q.yaml")
    assert [layer.name for layer in plan_of(tmp_path / "q.yaml").layers] == ["stem.conv"]


def test_amct_s_formats_need_the_model(rich: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="list the layers of a model: name the model, too"):
        run("config", "convert", rich, "-o", tmp_path / "q.json")


def test_what_amct_cannot_say_is_refused_or_noted(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be said in AMCT's formats:\n  layer .* range method 'kl'"):
        run("config", "create", MODEL, "-o", tmp_path / "q.cfg", "--algo", "kl")
    assert not (tmp_path / "q.cfg").exists()
    made = run("config", "create", MODEL, "-o", tmp_path / "q.cfg", "--bias-correction", "full")
    assert "note: bias_correction is left out" in made.output


def test_cfg_has_no_word_for_4_bit_data(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has 4-bit data, for which \.cfg has no word"):
        run("config", "create", MODEL, "-o", tmp_path / "q.cfg", "--bits", "4", "--weight-bits", "4")
    run("config", "create", MODEL, "-o", tmp_path / "q.json", "--bits", "4", "--weight-bits", "4")
    assert 4 in {layer.inputs[0].spec.bits for layer in plan_of(tmp_path / "q.json").layers}


def test_an_unknown_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"q\.ini is no name for a configuration file: it must end in \.json, \.cfg"):
        run("config", "create", MODEL, "-o", tmp_path / "q.ini")


def test_input_is_not_overwritten(rich: Path) -> None:
    with pytest.raises(ExportError, match="would overwrite the input"):
        run("config", "convert", rich, MODEL, "-o", rich)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("q.json", '{"version": 1,\n "stem.con": {}}', r"q\.json:2: layer 'stem\.con' is not in the model \(did you mean"),
        ("q.cfg", '\nskip_layers: "stem.con"', r"q\.cfg:2: layer 'stem\.con' is not in the model \(did you mean"),
        ("q.yaml", "skip: [stem.con]", r"q\.yaml:1: skip: 'stem\.con' is no node, pattern or operator type"),
    ],
)
def test_check_names_what_does_not_fit(name: str, text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=message):
        run("config", "check", tmp_path / name, MODEL)


def test_calibrate_takes_amct_s_files_and_options_win(tmp_path: Path) -> None:
    (tmp_path / "q.cfg").write_text('batch_num: 2 skip_layers: "classifier" common_config { hfmg_quantize {} }')
    run("calibrate", MODEL, "--data", DIGITS / "calibration", "-o", tmp_path / "net", "--config", tmp_path / "q.cfg", "-q")
    record = (tmp_path / "net_record.txt").read_text()
    assert '"stem.conv"' in record
    assert '"classifier"' not in record
    found = json.loads(run("inspect", MODEL, "--config", tmp_path / "q.cfg", "--algo", "mse", "--json").output)
    assert {layer["inputs"][0]["algorithm"] for layer in found["plan"]["layers"]} == {"mse"}


def test_written_toml_and_json_are_read_alike() -> None:
    config = QuantConfig(skip=("a b", 'q"', "dé\x7f"), options={"search_range": (0.5, 1.0)}, input_shapes={"x.1": (1, 2)})
    assert tomllib.loads(format_config(config, "toml")) == json.loads(format_config(config, "json"))
    assert QuantConfig.from_mapping(tomllib.loads(format_config(config, "toml"))) == config
