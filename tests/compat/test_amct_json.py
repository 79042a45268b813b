"""AMCT's JSON configuration: what each key means, what is refused and how it is said, and writing it."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from corpus import SHARED, needs_shared

from amct_lite import ir
from amct_lite.compat.configs import is_amct_config, load_amct_config, write_config
from amct_lite.compat.json_config import read_json
from amct_lite.compat.json_writer import json_text
from amct_lite.compat.planned import left_out
from amct_lite.config import Override, QuantConfig, load_config
from amct_lite.errors import ConfigError, ExportError
from amct_lite.loading import load_prepared
from amct_lite.plan import resolve
from amct_lite.record import read_record
from amct_lite.types import QuantPlan

GOLDEN = SHARED / "reference" / "golden"
NET = """<ir_version: 8, opset_import: ["": 17]>
net (float[N, 2, 4, 4] x) => (float[N, 3] y)
<float[4, 2, 3, 3] w1 = {WEIGHT}, float[64, 3] w2 = {GEMM}> {
    [c1] a = Conv <pads = [1, 1, 1, 1]> (x, w1)
    [r] b = Relu (a)
    [p] c = AveragePool <kernel_shape = [1, 1]> (b)
    [f] d = Flatten (c)
    [fc] y = Gemm (d, w2)
}"""
IFMR = {
    "num_bits": 8,
    "max_percentile": 0.999999,
    "min_percentile": 0.999999,
    "search_range": [0.7, 1.3],
    "search_step": 0.01,
    "act_algo": "ifmr",
    "asymmetric": True,
}
ADA = {"num_bits": 8, "channel_wise": True, "wts_algo": "ada_quantize"}
HFMG = {"num_bits": 8, "act_algo": "hfmg", "asymmetric": True, "num_of_bins": 4096}


def numbers(count: int) -> str:
    return "{" + ", ".join(str((i * 7) % 11 - 5) for i in range(count)) + "}"


@pytest.fixture(scope="module")
def model() -> ir.Model:
    """A Conv `c1`, a Relu `r`, an AveragePool `p` and a Gemm `fc`."""
    return load_prepared(ir.from_text(NET.replace("{WEIGHT}", numbers(72)).replace("{GEMM}", numbers(192)))).prepared


def layer(*, channel_wise: bool = False, activation: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    weight = {"num_bits": 8, "channel_wise": channel_wise, "wts_algo": "arq_quantize"}
    given = {"quant_enable": True, "activation_quant_params": dict(activation or IFMR), "weight_quant_params": weight}
    return {**given, **more}


def whole_file() -> dict[str, Any]:
    """What AMCT writes for the model of this file."""
    root = {"version": 1, "batch_num": 2, "activation_offset": True, "joint_quant": False, "weight_offset": False}
    more = {"do_fusion": True, "skip_fusion_layers": [], "c1": layer(channel_wise=True), "fc": layer(), "p": layer()}
    return {**root, **more, "tensor_quantize": []}


def read(content: object, model: ir.Model | None) -> QuantConfig:
    return read_json(json.dumps(content, indent=1), "q.json", model)


def plan_of(content: object, model: ir.Model) -> QuantPlan:
    return resolve(read(content, model), model)


def set_at(content: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    """A copy with `value` at `a.b.c`; `...` removes what is there."""
    changed = copy.deepcopy(content)
    *tables, key = path.split(".")
    target = changed
    for name in tables:
        target = target.setdefault(name, {})
    if value is ...:
        del target[key]
    else:
        target[key] = value
    return changed


def test_what_amct_writes_by_default_is_the_default_here(model: ir.Model) -> None:
    assert read(whole_file(), model) == QuantConfig(batches=2, fallback=0)


def test_settings_that_most_layers_share_hold_for_all_and_the_others_are_overrides(model: ir.Model) -> None:
    content = set_at(whole_file(), "p.activation_quant_params", HFMG)
    content = set_at(content, "c1.weight_quant_params.channel_wise", False)
    config = read(content, model)
    # No two layers agree here: the first in the file is what the rest is compared with.
    assert (config.algorithm, config.per_channel) == ("ifmr", "none")
    assert config.layers["p"] == Override(algorithm="hfmg", options={"num_of_bins": 4096}, per_channel="auto")
    assert config.layers["fc"] == Override(per_channel="auto")


def test_file_reaches_the_plan(model: ir.Model) -> None:
    content = set_at(whole_file(), "c1.activation_quant_params", {**HFMG, "asymmetric": False, "num_of_bins": 1024})
    content = set_at(content, "fc.activation_quant_params.search_step", 0.05)
    content = set_at(content, "p.quant_enable", False)
    plan = plan_of(content, model)
    conv, gemm = plan.layers
    assert (conv.inputs[0].algorithm, conv.inputs[0].spec.symmetric, conv.inputs[0].options) == (
        "hfmg",
        True,
        (("num_of_bins", 1024),),
    )
    assert conv.weight_spec is not None
    assert conv.weight_spec.per_channel
    assert dict(gemm.inputs[0].options)["search_step"] == 0.05
    assert gemm.weight_spec is not None
    assert not gemm.weight_spec.per_channel
    (skip,) = plan.skips
    assert skip.node == "p"
    assert "q.json:" in skip.reason


def test_widths_of_a_layer_reach_the_plan(model: ir.Model) -> None:
    content = set_at(whole_file(), "c1.activation_quant_params.num_bits", 16)
    content = set_at(content, "fc.weight_quant_params.num_bits", 6)
    conv, pool, gemm = plan_of(content, model).layers
    assert [layer.inputs[0].spec.bits for layer in (conv, pool, gemm)] == [16, 8, 8]
    assert conv.weight_spec is not None
    assert gemm.weight_spec is not None
    assert (conv.weight_spec.bits, gemm.weight_spec.bits) == (8, 6)


def test_layer_that_is_not_listed_stays_in_float(model: ir.Model) -> None:
    content = set_at(whole_file(), "c1", ...)
    assert [layer.name for layer in plan_of(content, model).layers] == ["p", "fc"]


def test_without_a_model_unlisted_layers_stay_in_float_too(model: ir.Model) -> None:
    config = read(set_at(whole_file(), "c1", ...), None)
    assert [layer.name for layer in resolve(config, model).layers] == ["p", "fc"]


@pytest.mark.parametrize("key", ["asymmetric", "act_algo", "num_bits"])
def test_older_files_lack_a_key(key: str, model: ir.Model) -> None:
    content = whole_file()
    for name in ("c1", "fc", "p"):
        content = set_at(content, f"{name}.activation_quant_params.{key}", ...)
    assert read(content, model) == QuantConfig(batches=2, fallback=0)


def test_bare_layers_take_all_defaults(model: ir.Model) -> None:
    assert read({"c1": {}, "fc": {}, "p": {}}, model) == QuantConfig(batches=1, fallback=0)


@pytest.mark.parametrize("offset", [True, False])
def test_activation_offset_holds_where_a_layer_says_nothing_of_it(offset: bool, model: ir.Model) -> None:
    content = {"activation_offset": offset, "c1": {}, "fc": {"activation_quant_params": {"asymmetric": True}}, "p": {}}
    specs = {layer.name: layer.inputs[0].spec.symmetric for layer in plan_of(content, model).layers}
    assert specs == {"c1": not offset, "p": not offset, "fc": False}


def test_a_configuration_of_another_model_is_one_problem(model: ir.Model) -> None:
    text = json.dumps({"version": 1, "a": {}, "b": {}, "c": {}})
    with pytest.raises(
        ConfigError, match=r"^q\.json: none of its 3 names is a node of the model \(the first is 'a'\)"
    ) as caught:
        read_json(text, "q.json", model)
    assert str(caught.value).endswith("a configuration of another model? Make one with `amct-lite config create`.")


NOT_YET = "is not offered yet"
PROBLEMS = [
    ("version", 2, r"version = 2 must be 1"),
    ("version", True, r"version = true must be 1"),
    ("batch_num", 0, r"batch_num = 0 must be a whole number of batches, 1 or more"),
    ("batch_num", "2", r'batch_num = "2" must be a whole number'),
    ("batch_num", None, r"batch_num = null must be a whole number"),
    ("activation_offset", 1, r"activation_offset = 1 must be true or false"),
    ("joint_quant", "no", r'joint_quant = "no" must be true or false'),
    ("weight_offset", True, rf"weight_offset = true {NOT_YET}"),
    ("do_fusion", 0, r"do_fusion = 0 must be true or false"),
    ("skip_fusion_layers", "c1", r'skip_fusion_layers = "c1" must be a list'),
    ("batch_nums", 2, r"batch_nums is unknown \(did you mean 'batch_num'\?\)"),
    ("c11", {}, r"layer 'c11' is not in the model \(did you mean 'c1'\?\)"),
    ("r", {}, r"layer 'r' is a Relu, which is not among the operators that are quantized"),
    ("c1", 3, r"c1 is unknown"),
    ("c1.quant_enabled", True, r"layer 'c1': quant_enabled is unknown \(did you mean 'quant_enable'\?\); the keys here are"),
    ("c1.quant_enable", "yes", r"layer 'c1': quant_enable = \"yes\" must be true or false"),
    ("c1.dmq_balancer_param", "0.5", r"layer 'c1': dmq_balancer_param = \"0.5\" must be a number from 0.2 to 0.8"),
    ("c1.dmq_balancer_param", 0.9, r"layer 'c1': dmq_balancer_param = 0.9 must be a number from 0.2 to 0.8"),
    ("c1.activation_quant_params", 8, r"layer 'c1': activation_quant_params = 8 must be a table"),
    ("c1.activation_quant_params.num_bits", 3, r"activation_quant_params.num_bits = 3 must be 4, 8 or 16"),
    ("c1.activation_quant_params.max_percentile", 0.5, r"max_percentile cannot be used: max_percentile = 0.5 must be a number"),
    ("c1.activation_quant_params.min_percentile", "1", r"min_percentile cannot be used: min_percentile = '1' must be a number"),
    ("c1.activation_quant_params.search_range", [1.3, 0.7], r"search_range cannot be used: .* must begin below its end"),
    ("c1.activation_quant_params.search_range", [0.7], r"search_range cannot be used: .* must be two numbers"),
    ("c1.activation_quant_params.search_step", 0, r"search_step cannot be used: search_step = 0 must be a number"),
    ("c1.activation_quant_params.act_algo", "ifmg", r"act_algo = \"ifmg\" must be ifmr or hfmg \(did you mean"),
    ("c1.activation_quant_params.num_of_bins", 4096, r"num_of_bins belongs to hfmg, but act_algo is ifmr"),
    ("c1.activation_quant_params", {**HFMG, "search_step": 0.01}, r"search_step belongs to ifmr, but act_algo is hfmg"),
    ("c1.activation_quant_params", {**HFMG, "num_of_bins": 1000}, r"num_of_bins cannot be used: .*1024, 2048, 4096, 8192"),
    ("c1.activation_quant_params.asymmetric", 0, r"asymmetric = 0 must be true or false"),
    ("c1.activation_quant_params.algo", "ifmr", r"activation_quant_params.algo is unknown"),
    ("c1.weight_quant_params", [], r"layer 'c1': weight_quant_params = \[\] must be a table"),
    ("c1.weight_quant_params.num_bits", 5, r"weight_quant_params.num_bits = 5 must be 4, 6, 7 or 8"),
    ("c1.weight_quant_params.channel_wise", "true", r"channel_wise = \"true\" must be true or false"),
    ("fc.weight_quant_params.channel_wise", True, r"layer 'fc': weight_quant_params.channel_wise must be false: Gemm"),
    ("p.weight_quant_params.channel_wise", True, r"layer 'p': weight_quant_params.channel_wise must be false: AveragePool"),
    ("c1.weight_quant_params", {**ADA, "num_iteration": 0}, r"num_iteration cannot be used: num_iteration = 0 must be a whole"),
    ("c1.weight_quant_params", {**ADA, "reg_param": -1}, r"reg_param cannot be used: reg_param = -1 must be a number above 0"),
    ("c1.weight_quant_params", {**ADA, "beta_range": [2, 20]}, r"beta_range cannot be used: .* must be \(start, end\)"),
    ("c1.weight_quant_params", {**ADA, "warm_start": 1.0}, r"warm_start cannot be used: .*between 0 and 1"),
    ("c1.weight_quant_params.wts_algo", "arq", r"wts_algo = \"arq\" must be arq_quantize or ada_quantize"),
    ("c1.weight_quant_params.num_iteration", 10, r"num_iteration belongs to ada_quantize, but wts_algo is arq_quantize"),
    ("c1.weight_quant_params", {"warm_start": 0.2}, r"warm_start belongs to ada_quantize, but wts_algo is arq_quantize"),
    ("c1.weight_quant_params.chanel_wise", True, r"chanel_wise is unknown \(did you mean 'channel_wise'\?\)"),
    ("tensor_quantize", {}, r"tensor_quantize = \{\} must be a list of tables"),
    (
        "tensor_quantize",
        [{"layer_name": "x", "input_index": 0}],
        r"tensor_quantize\[0\].layer_name = \"x\" is not in the model",
    ),
    ("tensor_quantize", [{"layer_name": "r"}], r"tensor_quantize\[0\].input_index is missing"),
    ("tensor_quantize", [{"layer_name": "r", "input_index": -1}], r"\[0\].input_index = -1 must be the number of an input"),
    ("tensor_quantize", [{"layer_name": "r", "input_index": True}], r"\[0\].input_index = true must be the number of an input"),
    (
        "tensor_quantize",
        [{"layer_name": "r", "input_index": 0, "bits": 8}],
        r"\[0\].bits is unknown; the keys here are layer_name",
    ),
    (
        "tensor_quantize",
        [{"layer_name": "r", "input_index": 0}] * 2,
        r"tensor_quantize\[1\] names the tensor r:0 again. Keep one",
    ),
    (
        "tensor_quantize",
        [{"layer_name": "r", "input_index": 0, "activation_quant_params": {"act_algo": "hfmg", "search_step": 0.1}}],
        r"\[0\].activation_quant_params.search_step belongs to ifmr, but act_algo is hfmg",
    ),
]


@pytest.mark.parametrize(("path", "value", "message"), PROBLEMS, ids=[f"{p}={v}"[:60] for p, v, _ in PROBLEMS])
def test_problem_is_named(path: str, value: object, message: str, model: ir.Model) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        read(set_at(whole_file(), path, value), model)
    assert "has 2 problems" not in str(caught.value)
    assert str(caught.value).startswith("q.json:")


def test_line_is_that_of_the_key_in_its_own_layer(model: ir.Model) -> None:
    text = json.dumps(set_at(whole_file(), "p.activation_quant_params.num_bits", 3), indent=1)
    line = max(number for number, line in enumerate(text.splitlines(), 1) if line.strip() == '"num_bits": 3,')
    with pytest.raises(ConfigError, match=rf"^q\.json:{line}: layer 'p': activation_quant_params\.num_bits = 3 must"):
        read_json(text, "q.json", model)


def test_all_problems_are_found_at_once_in_the_order_of_the_file(model: ir.Model) -> None:
    content = set_at(set_at(whole_file(), "batch_num", 0), "fc.weight_quant_params.channel_wise", True)
    with pytest.raises(ConfigError, match=r"^q\.json has 2 problems:\n  q\.json:3: batch_num.*\n  q\.json:\d+: layer 'fc'"):
        read(content, model)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"c1": {},\n "fc": {},\n "c1": {}}', r"^q\.json:3: c1 is given twice. Keep one\.$"),
        ('{"c1": {"quant_enable": true,\n"quant_enable": false}}', r"^q\.json:2: layer 'c1': quant_enable is given twice"),
        (
            '{"c1": {}, "tensor_quantize": [{"layer_name": "r", "input_index": 0},\n{"layer_name": "p",\n"layer_name": "r"}]}',
            r":2: tensor_quantize\[1\].input_index is missing\.\n  q\.json:3: tensor_quantize\[1\].layer_name is given twice",
        ),
        ('{"version": 1,\n}', r"^q\.json:2: not JSON"),
        ("[]", r"holds a list, must be a table"),
        ("[" * 100_000, r"cannot be read|not JSON|nested"),
        ("{}", r"nothing is quantized"),
        ('{"c1": {"quant_enable": false}}', r"nothing is quantized: no layer has quant_enable true"),
    ],
)
def test_text_is_refused(text: str, message: str, model: ir.Model) -> None:
    with pytest.raises(ConfigError, match=message):
        read_json(text, "q.json", model)


def test_written_file_is_read_to_the_same_plan(model: ir.Model) -> None:
    content = set_at(whole_file(), "c1.activation_quant_params", {**HFMG, "asymmetric": False})
    content = set_at(content, "p.quant_enable", False)
    options = {"num_iteration": 500, "reg_param": 0.1, "beta_range": [10.0, 2.0], "warm_start": 0.5}
    content = set_at(content, "fc.weight_quant_params", {**ADA, "channel_wise": False, **options})
    config = read(content, model)
    text = json_text(resolve(config, model), config)
    assert resolve(read_json(text, "again", model), model).layers == resolve(config, model).layers
    assert json.loads(text) == content


def test_ada_quantize_is_this_package_s_ada(model: ir.Model) -> None:
    config = read(set_at(whole_file(), "c1.weight_quant_params", {**ADA, "num_iteration": 500}), model)
    methods = {layer.name: (layer.weight_algorithm, dict(layer.weight_options)) for layer in resolve(config, model).layers}
    options = {"num_iteration": 500, "reg_param": 0.01, "beta_range": (20.0, 2.0), "warm_start": 0.2}
    assert methods["c1"] == ("ada", options)
    assert methods["fc"] == ("arq", {})


def test_a_layer_that_is_enabled_again_has_the_settings_of_the_others(model: ir.Model) -> None:
    ada = {"weight_algorithm": "ada", "weight_options": {"num_iteration": 10}}
    wanted = QuantConfig(bits=16, weight_bits=6, balance=0.5, **ada)
    skipping = replace(wanted, skip=("c1", "p"))
    every, some = (json.loads(json_text(resolve(config, model), config)) for config in (wanted, skipping))
    for name in skipping.skip:
        assert not some[name]["quant_enable"]
        some[name]["quant_enable"] = True
    assert some == every


def test_root_keys_come_in_order_and_layers_by_name(model: ir.Model) -> None:
    config = QuantConfig(batches=2, skip=("c1",))
    content = json.loads(json_text(resolve(config, model), config))
    assert list(content) == list(whole_file())
    assert {name: content[name]["quant_enable"] for name in ("c1", "fc", "p")} == {"c1": False, "fc": True, "p": True}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (QuantConfig(algorithm="kl"), r"layer 'c1': range method 'kl'; AMCT has ifmr and hfmg"),
        (QuantConfig(weight_algorithm="mse"), r"layer 'fc': weight algorithm 'mse'; AMCT has arq and ada"),
        (QuantConfig(per_channel="all"), r"layer 'fc': a weight scale a channel; AMCT gives Gemm one for all"),
    ],
)
def test_what_the_format_cannot_say_is_refused(config: QuantConfig, message: str, model: ir.Model) -> None:
    with pytest.raises(ConfigError, match=message):
        json_text(resolve(config, model), config)


def test_what_only_steers_a_run_is_left_out_and_named() -> None:
    (sentence,) = left_out(QuantConfig(bias_correction="full", batches=1))
    assert "bias_correction is left out" in sentence
    assert left_out(QuantConfig(batches=3)) == ()
    (sentence,) = left_out(QuantConfig())
    assert sentence.startswith("batch_num is 1, AMCT's default")


def test_file_is_written_and_told_from_our_own_json(tmp_path: Path, model: ir.Model) -> None:
    config = QuantConfig(batches=4, fallback=0)
    write_config(tmp_path / "amct.json", config, resolve(config, model), "amct")
    (tmp_path / "own.json").write_text(json.dumps(config.to_mapping()))
    assert load_amct_config(tmp_path / "amct.json", model) == config == load_config(tmp_path / "own.json")
    assert [is_amct_config(tmp_path / name) for name in ("amct.json", "own.json")] == [True, False]
    with pytest.raises(ExportError, match="would overwrite"):
        write_config(tmp_path / "amct.json", config, resolve(config, model), "amct", inputs=[tmp_path / "amct.json"])


@pytest.mark.parametrize("name", ["absent.json", "absent.cfg"])
def test_an_absent_file_is_refused(name: str, tmp_path: Path, model: ir.Model) -> None:
    with pytest.raises(ConfigError, match=rf"cannot read the configuration .*{name}: No such file"):
        load_amct_config(tmp_path / name, model)


@needs_shared
@pytest.mark.parametrize("folder", ["cnn", "cnn_symmetric", "mlp_hfmg"])
def test_amct_s_own_files_are_read_to_what_their_records_show_and_written_alike(folder: str) -> None:
    golden = load_prepared(GOLDEN / folder / "float.onnx").prepared
    config = load_amct_config(GOLDEN / folder / "config.json", golden)
    plan = resolve(config, golden)
    record = read_record(GOLDEN / folder / "record.txt").by_key
    assert {layer.name for layer in plan.layers} == set(record)
    for planned in plan.layers:
        made = record[planned.name]
        assert not planned.inputs[0].spec.symmetric or made.activation.zero_point == (0,)
        if planned.weight_spec is not None:
            assert made.weight is not None
            assert planned.weight_spec.per_channel == (not made.weight.per_tensor)
    assert any(layer.inputs[0].spec.symmetric for layer in plan.layers) == (folder == "cnn_symmetric")
    written = json.loads(json_text(plan, config))
    extra = {"joint_quant", "weight_offset", "tensor_quantize"}  # the PyTorch flavour does not write them
    given = json.loads((GOLDEN / folder / "config.json").read_text(encoding="utf-8"))
    assert {key: value for key, value in written.items() if key not in extra} == given


def test_byte_order_mark_of_an_editor_does_no_harm(tmp_path: Path, model: ir.Model) -> None:
    (tmp_path / "q.json").write_text(json.dumps(whole_file()), encoding="utf-8-sig")
    assert is_amct_config(tmp_path / "q.json")
    assert load_amct_config(tmp_path / "q.json", model) == QuantConfig(batches=2, fallback=0)
