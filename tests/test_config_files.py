"""The same configuration in YAML, TOML and JSON, and mistakes with their lines."""

import sys
from pathlib import Path

import pytest

from amct_lite.config import Override, QuantConfig, load_config
from amct_lite.errors import ConfigError

YAML = """\
target: generic
batches: 32
skip: [conv1, "head.*"]
input_shapes: {x: [1, 3, 8, 8]}
activation:
  algorithm: percentile
  options: {percentile: 99.9}
weight:
  per_channel: all
types:
  MatMul:
    activation: {symmetric: true}
layers:
  "enc.*":
    skip: true
"""
TOML = """\
target = "generic"
batches = 32
skip = ["conv1", "head.*"]
input_shapes = { x = [1, 3, 8, 8] }
[activation]
algorithm = "percentile"
options.percentile = 99.9
[weight]
per_channel = "all"
[types.MatMul.activation]
symmetric = true
[layers."enc.*"]
skip = true
"""
JSON = """\
{
  "target": "generic", "batches": 32,
  "skip": ["conv1", "head.*"],
  "input_shapes": {"x": [1, 3, 8, 8]},
  "activation": {"algorithm": "percentile", "options": {"percentile": 99.9}},
  "weight": {"per_channel": "all"},
  "types": {"MatMul": {"activation": {"symmetric": true}}},
  "layers": {"enc.*": {"skip": true}}
}
"""
EXPECTED = QuantConfig(
    target="generic",
    batches=32,
    skip=("conv1", "head.*"),
    input_shapes={"x": (1, 3, 8, 8)},
    algorithm="percentile",
    options={"percentile": 99.9},
    per_channel="all",
    types={"MatMul": Override(symmetric=True)},
    layers={"enc.*": Override(skip=True)},
)


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(("name", "text"), [("q.yaml", YAML), ("q.yml", YAML), ("q.toml", TOML), ("q.json", JSON)])
def test_all_formats_say_the_same(tmp_path: Path, name: str, text: str) -> None:
    assert load_config(written(tmp_path, name, text)) == EXPECTED
    assert load_config(written(tmp_path, name, "\ufeff" + text.replace("\n", "\r\n"))) == EXPECTED, (
        "as a Windows editor saves it"
    )


@pytest.mark.parametrize(
    ("name", "text", "skip_line", "layer_line"),
    [("q.yaml", YAML, 3, 15), ("q.toml", TOML, 3, 12), ("q.json", JSON, 3, 8)],
)
def test_reasons_and_places_name_the_line(tmp_path: Path, name: str, text: str, skip_line: int, layer_line: int) -> None:
    path = written(tmp_path, name, text)
    config = load_config(path)
    assert config.for_layer("head.1", "Conv").skip.endswith(f"{name}:{skip_line}: skip lists 'head.*')")
    assert config.place("layers", "enc.*", "skip").startswith(f"{path}:{layer_line + (name == 'q.toml')}: layers")
    assert config.where == str(path)


@pytest.mark.parametrize("name", ["q.yaml", "q.toml"])
def test_empty_file_is_the_default(tmp_path: Path, name: str) -> None:
    assert load_config(written(tmp_path, name, "# nothing\n")) == QuantConfig()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("q.yaml", "batches: 1\nactivation:\n  bits: 3\n", r"q.yaml:3: activation\.bits = 3 must be 4, 8 or 16"),
        ("q.yaml", "batches: 1\nbatches: 2\n", r"q.yaml:2: batches is given twice\. Keep one"),
        ("q.yaml", "layers:\n  a: {}\n  a: {}\n", r'q.yaml:3: layers\["a"\] is given twice'),
        ("q.yaml", "layers:\n  1: {}\n", r'q.yaml:2: layers\["1"\]: the key 1 must be text'),
        ("q.yaml", "? [a]\n: 1\n", "q.yaml:1: a key must be text"),
        ("q.yaml", "batches: 1\nbad: [\n", "q.yaml:3: not YAML: "),
        ("q.yaml", "batches: !!python/object:os.system 1\n", "q.yaml:1: not YAML: could not determine a constructor"),
        ("q.yaml", "batches: 2001-99-99\n", "q.yaml:1: batches: month must be"),
        ("q.yaml", "batches: \x00\n", "q.yaml is not YAML: "),
        ("q.yaml", "- a\n", "q.yaml holds a list, must be a table of settings"),
        ("q.yaml", "a: &a [*a]\n", "q.yaml:1: .*(recursive|nested too deeply)"),
        ("q.toml", "[activation]\nbits = 3\n", r"q.toml:2: activation\.bits = 3 must be 4, 8 or 16"),
        ("q.toml", "batches = 1\nbatches = 2\n", "q.toml:2: not TOML: Cannot overwrite a value"),
        ("q.toml", "[layers.conv1.weight]\nbits = 3\n", r'q.toml:2: layers\["conv1"\]\.weight\.bits = 3 must be 4, 6, 7 or 8'),
        ("q.toml", "target = generic\n", "q.toml:1: not TOML: "),
        ("q.json", '{"weight": {},\n "activation": {"bits": 3}}', r"q.json:2: activation\.bits = 3 must be 4, 8 or 16"),
        ("q.json", '{"batches": 1,\n"batches": 2}', r"q.json:2: the key 'batches' is given twice"),
        ("q.json", '{"batches": 1,\n}', "q.json:2: not JSON: "),
        ("q.json", "[" * 100_000, "q.json is nested too deeply"),
        ("q.json", '{"batches": 1%s}' % ("0" * 5000), "q.json: Exceeds the limit .* digits"),
        ("q.toml", "batches = 1" + "0" * 5000, "q.toml: Exceeds the limit .* digits"),
        ("q.json", "[]", "q.json holds a list, must be a table of settings"),
        ("q.txt", "", r"q.txt is no configuration file: its name must end in \.yaml, \.yml, \.toml, \.json"),
    ],
)
def test_mistakes_are_named_with_their_line(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(written(tmp_path, name, text))


def test_aliases_cannot_make_a_short_file_endless(tmp_path: Path) -> None:
    levels = ["a0: &a0 [1,1,1,1,1,1,1,1,1,1]"]
    levels += [f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    with pytest.raises(ConfigError, match="too many values"):
        load_config(written(tmp_path, "q.yaml", "\n".join(levels)))


def test_all_problems_of_a_file_are_listed(tmp_path: Path) -> None:
    path = written(tmp_path, "q.yaml", "target: x\nskip: a\nskip: [b]\nlayers:\n  c: {bits: 8}\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    keys = "skip, activation, weight, balance"
    assert str(caught.value).splitlines() == [
        f"{path} has 4 problems:",
        f"  {path}:3: skip is given twice. Keep one.",
        f"  {path}:1: target = 'x' must be ascend, ort or generic.",
        f"  {path}:2: skip = 'a' must be a list: [\"a\"].",
        f"  {path}:5: layers[\"c\"].bits is unknown (did you mean 'activation.bits'?); the keys here are {keys}.",
    ]


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the configuration .*absent\.toml: No such file"):
        load_config(tmp_path / "absent.toml")
    (tmp_path / "q.toml").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match=r"q\.toml is no configuration: it is not UTF-8 text \(byte 0\)"):
        load_config(tmp_path / "q.toml")


def test_yaml_without_pyyaml_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    monkeypatch.delitem(sys.modules, "amct_lite.config.yaml_file", raising=False)
    monkeypatch.delattr("amct_lite.config.yaml_file", raising=False)
    with pytest.raises(ConfigError, match=r"q\.yaml is YAML, which needs PyYAML: pip install 'amct-lite\[yaml\]'"):
        load_config(written(tmp_path, "q.yaml", YAML))
