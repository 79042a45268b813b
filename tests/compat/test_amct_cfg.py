"""AMCT's simplified configuration: fields, defaults, priorities, and what is refused and how it is said."""

from __future__ import annotations

from pathlib import Path

import pytest
from corpus import SHARED, needs_shared

from amct_lite import ir
from amct_lite.compat.cfg_config import read_cfg
from amct_lite.compat.cfg_lines import field_lines
from amct_lite.compat.cfg_schema import AMCTConfig
from amct_lite.compat.configs import is_amct_config, load_amct_config
from amct_lite.config import QuantConfig
from amct_lite.errors import ConfigError
from amct_lite.loading import load_prepared
from amct_lite.plan import resolve
from amct_lite.types import LayerPlan

GOLDEN = SHARED / "reference" / "golden"


def numbers(count: int) -> str:
    return "{" + ", ".join(str((i * 7) % 11 - 5) for i in range(count)) + "}"


@pytest.fixture(scope="module")
def model() -> ir.Model:
    """Convs `c1` and `c2`, a Relu `r`, a Gemm `fc`."""
    return load_prepared(
        ir.from_text(f"""<ir_version: 8, opset_import: ["": 17]>
        net (float[N, 2, 4, 4] x) => (float[N, 3] y)
        <float[4, 2, 3, 3] w1 = {numbers(72)}, float[2, 4, 3, 3] w2 = {numbers(72)}, float[32, 3] w3 = {numbers(96)}> {{
            [c1] a = Conv <pads = [1, 1, 1, 1]> (x, w1)
            [r] b = Relu (a)
            [c2] c = Conv <pads = [1, 1, 1, 1]> (b, w2)
            [f] d = Flatten (c)
            [fc] y = Gemm (d, w3)
        }}""")
    ).prepared


def read(text: str, model: ir.Model | None) -> QuantConfig:
    return read_cfg(text, "q.cfg", model)


def planned(text: str, model: ir.Model) -> dict[str, LayerPlan]:
    return {layer.name: layer for layer in resolve(read(text, model), model).layers}


def symmetric(layers: dict[str, LayerPlan]) -> dict[str, bool]:
    return {name: layer.inputs[0].spec.symmetric for name, layer in layers.items()}


def methods(layers: dict[str, LayerPlan]) -> dict[str, str]:
    return {name: layer.inputs[0].algorithm for name, layer in layers.items()}


def per_channel(layers: dict[str, LayerPlan]) -> dict[str, bool]:
    return {name: layer.weight_spec.per_channel for name, layer in layers.items() if layer.weight_spec}


def test_field_numbers_are_the_contract_s() -> None:
    fields = {
        f"{message.name}.{field.name}": field.number
        for message in (AMCTConfig.DESCRIPTOR, *AMCTConfig.DESCRIPTOR.file.message_types_by_name.values())
        for field in message.fields
    }
    contract = {
        "AMCTConfig": {"batch_num": 1, "activation_offset": 2, "skip_layers": 10, "skip_layer_types": 11, "common_config": 50}
        | {"override_layer_types": 51, "override_layer_configs": 100, "do_fusion": 200, "skip_fusion_layers": 201},
        "OverrideLayerType": {"layer_type": 1, "calibration_config": 2},
        "OverrideLayer": {"layer_name": 1, "calibration_config": 2},
        "CalibrationConfig": {"arq_quantize": 13, "ada_quantize": 15, "ifmr_quantize": 100, "hfmg_quantize": 101}
        | {"dmq_balancer": 200},
        "ARQuantize": {"channel_wise": 1, "quant_bits": 10},
        "ADAquantize": {"num_iteration": 1, "reg_param": 2, "beta_range_start": 3, "beta_range_end": 4, "warm_start": 5}
        | {"channel_wise": 10},
        "FMRQuantize": {"search_range_start": 1, "search_range_end": 2, "search_step": 3, "max_percentile": 4}
        | {"min_percentile": 5, "asymmetric": 6, "dst_type": 10},
        "HFMGQuantize": {"num_of_bins": 1, "asymmetric": 2, "dst_type": 10},
        "DMQBalancer": {"migration_strength": 1},
    }
    told = {f"{name}.{field}": number for name, table in contract.items() for field, number in table.items()}
    assert told.items() <= fields.items()


@pytest.mark.parametrize("text", ["", "# nothing", "common_config {}", "common_config { ifmr_quantize {} arq_quantize {} }"])
def test_what_is_left_out_takes_the_defaults(text: str, model: ir.Model) -> None:
    assert read(text, model) == QuantConfig(batches=1, fallback=0)


def test_common_config_stands_over_activation_offset(model: ir.Model) -> None:
    text = "activation_offset: false  common_config { hfmg_quantize { num_of_bins: 1024 asymmetric: true } }"
    layers = planned(text, model)
    assert methods(layers) == dict.fromkeys(layers, "hfmg")
    assert symmetric(layers) == dict.fromkeys(layers, False)
    assert {layer.inputs[0].options for layer in layers.values()} == {(("num_of_bins", 1024),)}
    assert symmetric(planned("activation_offset: false common_config { hfmg_quantize {} }", model)) == dict.fromkeys(
        layers, True
    )


def test_widths_reach_the_plan(model: ir.Model) -> None:
    text = """
        common_config { ifmr_quantize { dst_type: INT16 } arq_quantize { quant_bits: 7 } }
        override_layer_configs { layer_name: "c2" calibration_config { hfmg_quantize { dst_type: INT8 } } }
    """
    layers = planned(text, model)
    assert {name: layer.inputs[0].spec.bits for name, layer in layers.items()} == {"c1": 16, "c2": 8, "fc": 16}
    assert {name: layer.weight_spec.bits for name, layer in layers.items() if layer.weight_spec} == {"c1": 7, "c2": 8, "fc": 7}


def test_type_stands_over_common_config_and_layer_over_type(model: ir.Model) -> None:
    text = """
        activation_offset: false
        common_config { hfmg_quantize {} arq_quantize { channel_wise: false } }
        override_layer_types { layer_type: "Conv" calibration_config { ifmr_quantize { search_step: 0.05 asymmetric: true } } }
        override_layer_configs { layer_name: "c2" calibration_config { hfmg_quantize { num_of_bins: 2048 } } }
    """
    layers = planned(text, model)
    assert methods(layers) == {"c1": "ifmr", "c2": "hfmg", "fc": "hfmg"}
    assert dict(layers["c1"].inputs[0].options)["search_step"] == 0.05
    assert dict(layers["c2"].inputs[0].options) == {"num_of_bins": 2048}
    # An override replaces all: what it leaves out comes from neither the type nor common_config.
    assert symmetric(layers) == {"c1": False, "c2": True, "fc": True}
    assert per_channel(layers) == {"c1": True, "c2": True, "fc": False}


def test_override_of_the_same_method_takes_defaults_not_the_other_s_options(model: ir.Model) -> None:
    text = """
        common_config { ifmr_quantize { search_step: 0.05 max_percentile: 0.99 } }
        override_layer_configs { layer_name: "c1" calibration_config { ifmr_quantize { min_percentile: 0.9 } } }
    """
    options = dict(planned(text, model)["c1"].inputs[0].options)
    assert options == {"max_percentile": 0.999999, "min_percentile": 0.9, "search_range": (0.7, 1.3), "search_step": 0.01}


def test_common_channel_wise_holds_where_it_can(model: ir.Model) -> None:
    text = "common_config { arq_quantize { channel_wise: true } }"
    assert per_channel(planned(text, model)) == {"c1": True, "c2": True, "fc": False}


def test_skipping_holds_whatever_else_is_said(model: ir.Model) -> None:
    text = """skip_layers: "c1"
        skip_layer_types: ["Gemm"]
        override_layer_configs { layer_name: "c1" calibration_config {} }
        override_layer_configs { layer_name: "fc" calibration_config {} }"""
    assert set(planned(text, model)) == {"c2"}
    reasons = {skip.node: skip.reason for skip in resolve(read(text, model), model).skips}
    assert 'q.cfg:3: layers["c1"]' in reasons["c1"]
    assert 'q.cfg:2: types["Gemm"]' in reasons["fc"]


@pytest.mark.parametrize(("word", "left"), [("Conv2d", {"fc"}), ("Linear", {"c1", "c2"}), ("AvgPool2d", {"c1", "c2", "fc"})])
def test_layer_types_of_pytorch_stand_for_operators(word: str, left: set[str], model: ir.Model) -> None:
    assert set(planned(f'skip_layer_types: "{word}"', model)) == left


def test_override_of_a_pytorch_type(model: ir.Model) -> None:
    text = 'override_layer_types { layer_type: "Linear" calibration_config { hfmg_quantize {} } }'
    assert methods(planned(text, model)) == {"c1": "ifmr", "c2": "ifmr", "fc": "hfmg"}


def in_layer(inner: str) -> str:
    return f'override_layer_configs {{ layer_name: "c1" calibration_config {{\n{inner} }} }}'


NOT_YET = "is not offered yet"
LAYER = "override_layer_configs 'c1'"
PROBLEMS = [
    ("batch_num: 0", r"q.cfg:1: batch_num = 0 must be a whole number of batches, 1 or more"),
    ("batch_num: -1", r"q.cfg:1: "),
    ('batch_num: "2"', r"q.cfg:1: "),
    ("\nbatch_nums: 2", r"q.cfg:2: batch_nums is no field of AMCTConfig \(did you mean 'batch_num'\?\); its fields are"),
    ("common_config {\n chanel_wise: true }", r"q.cfg:2: chanel_wise is no field of CalibrationConfig"),
    ("batch_num: 1 batch_num: 2", r"q.cfg:1: .*batch_num"),
    ("common_config {", r"q.cfg:1: "),
    ("common_config { ifmr_quantize {}\n hfmg_quantize {} }", r"q.cfg:2: .*hfmg_quantize"),
    ('skip_fusion_layers: ["c1",\n "c1"]', r"q.cfg:2: skip_fusion_layers lists 'c1' twice"),
    ('\ntensor_quantize { layer_name: "add" input_index: 1 }', r"q.cfg:2: layer 'add' is not in the model"),
    ('\ntensor_quantize { layer_name: "r" }', "q.cfg:2: tensor_quantize without input_index"),
    ("\ntensor_quantize { input_index: 1 }", "q.cfg:2: tensor_quantize without layer_name"),
    ('\ntensor_quantize { layer_name: "r" input_index: 0 }' * 2, "q.cfg:3: tensor_quantize names the tensor r:0 again"),
    (
        '\ntensor_quantize { layer_name: "r" input_index: 0\nifmr_quantize { search_step: 0 } }',
        "q.cfg:3: tensor_quantize r:0: ifmr_quantize cannot be used: search_step",
    ),
    ('skip_layers: [\n"c1",\n"c11"]', r"q.cfg:3: layer 'c11' is not in the model \(did you mean 'c1'\?\)"),
    ('skip_layers: "c1"\nskip_layers: "c1"', r"q.cfg:2: skip_layers lists 'c1' twice"),
    ('skip_layer_types: "Convv"', r"q.cfg:1: unknown layer type 'Convv' \(did you mean 'Conv'\?\); choose one of AveragePool"),
    ('skip_layer_types: "Relu"', r"q.cfg:1: unknown layer type 'Relu'"),
    ('skip_layers: ["c1", "c2", "fc"]', r"nothing is quantized: all 3 layers of the model are skipped"),
    ('skip_layer_types: ["Conv", "Gemm"]', r"nothing is quantized"),
    ('override_layer_configs { layer_name: "c11" calibration_config {} }', r"q.cfg:1: layer 'c11' is not in the model"),
    ('override_layer_configs { layer_name: "r" calibration_config {} }', r"layer 'r' is a Relu, which is not among"),
    ("override_layer_configs { calibration_config {} }", r"q.cfg:1: override_layer_configs without layer_name"),
    ('override_layer_configs { layer_name: "c1" }', r"q.cfg:1: override_layer_configs without calibration_config"),
    (f"{in_layer('')}\n{in_layer('')}", r"q.cfg:3: layer 'c1' has an override already. Keep one"),
    ('override_layer_types { layer_type: "Relu" calibration_config {} }', r"unknown layer type 'Relu'"),
    ("override_layer_types { calibration_config {} }", r"override_layer_types without layer_type"),
    (
        "\n".join(f'override_layer_types {{ layer_type: "{word}" calibration_config {{}} }}' for word in ("Conv2d", "Conv")),
        r"q.cfg:2: layer type 'Conv': Conv has an override already",
    ),
    (
        'override_layer_types { layer_type: "Gemm" calibration_config { arq_quantize {\nchannel_wise: true } } }',
        r"q.cfg:2: override_layer_types 'Gemm': arq_quantize.channel_wise must be false: Gemm has one weight scale",
    ),
    (
        in_layer("dmq_balancer {\n migration_strength: 0.9 }"),
        rf"q.cfg:3: {LAYER}: dmq_balancer.migration_strength = 0.9 must be a number from 0.2 to 0.8",
    ),
    (
        in_layer("ada_quantize { warm_start: 1 }"),
        rf"q.cfg:2: {LAYER}: ada_quantize cannot be used: warm_start = 1\.0 must be a number between 0 and 1",
    ),
    (in_layer("ada_quantize { beta_range_start: 1 }"), rf"q.cfg:2: {LAYER}: ada_quantize cannot be used: beta_range = "),
    (in_layer("arq_quantize { quant_bits: 5 }"), rf"q.cfg:2: {LAYER}: arq_quantize.quant_bits = 5 must be one of 4, 6, 7, 8"),
    (in_layer("ifmr_quantize { dst_type: INT4 }"), r"q.cfg:2: .*INT4"),
    (
        in_layer("ifmr_quantize {\n search_step: 0 }"),
        rf"q.cfg:3: {LAYER}: ifmr_quantize cannot be used: search_step = 0.0 must",
    ),
    (in_layer("ifmr_quantize {\n search_range_start: 2 }"), rf"q.cfg:3: {LAYER}: ifmr_quantize cannot be used: search_range"),
    (in_layer("ifmr_quantize { max_percentile: 0.5 }"), r"max_percentile = 0.5 must be a number in \(0.5, 1\]"),
    (in_layer("ifmr_quantize { min_percentile: nan }"), r"min_percentile = nan must be a number"),
    (in_layer("hfmg_quantize { num_of_bins: 1000 }"), r"q.cfg:2: .*hfmg_quantize cannot be used: num_of_bins = 1000"),
]


@pytest.mark.parametrize(("text", "message"), PROBLEMS, ids=[text.replace("\n", " ")[:60] for text, _ in PROBLEMS])
def test_problem_is_named(text: str, message: str, model: ir.Model) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        read(text, model)
    assert "problems:" not in str(caught.value)


def test_all_problems_are_found_at_once_in_the_order_of_the_file(model: ir.Model) -> None:
    text = 'skip_layers: "c11"\nbatch_num: 0\ncommon_config { ada_quantize { reg_param: 0 } }'
    with pytest.raises(
        ConfigError, match=r"^q.cfg has 3 problems:\n  q.cfg:1: .*\n  q.cfg:2: .*\n  q.cfg:3: common_config: ada"
    ):
        read(text, model)


def test_what_is_offered_passes(model: ir.Model) -> None:
    text = """joint_quant: true do_fusion: false skip_fusion_layers: "c1"
        common_config { arq_quantize { quant_bits: 8 } ifmr_quantize { dst_type: INT8 } }"""
    assert read(text, model) == QuantConfig(batches=1, fallback=0, joint_quant=True, fusion=False, skip_fusion=("c1",))


def test_lines_of_lists_and_nested_messages() -> None:
    lines = field_lines('a: 1\nb: [2,\n 3]\nc {\n d { e: "x" }\n} c <\n d: [{ e: 1 }, {\n e: 2 }] >')
    assert {".".join(f"{n}{i}" for n, i in path): line for path, line in lines.items()} == {
        "a0": 1,
        "b0": 2,
        "b1": 3,
        "c0": 4,
        "c0.d0": 5,
        "c0.d0.e0": 5,
        "c1": 6,
        "c1.d0": 7,
        "c1.d0.e0": 7,
        "c1.d1": 7,
        "c1.d1.e0": 8,
    }


@pytest.mark.parametrize("name", ["q.cfg", "q.txt", "q.prototxt"])
def test_file_is_told_from_its_name_or_text(name: str, tmp_path: Path, model: ir.Model) -> None:
    (tmp_path / name).write_text("batch_num: 3")
    assert is_amct_config(tmp_path / name)
    assert load_amct_config(tmp_path / name, model) == QuantConfig(batches=3, fallback=0)
    assert load_amct_config(tmp_path / name) == QuantConfig(batches=3, fallback=0)


@needs_shared
def test_amct_s_own_file_says_what_its_json_says() -> None:
    golden = load_prepared(GOLDEN / "mlp_hfmg" / "float.onnx").prepared
    plans = [resolve(load_amct_config(GOLDEN / "mlp_hfmg" / f"config.{kind}", golden), golden) for kind in ("cfg", "json")]
    assert plans[0] == plans[1]
    assert {layer.inputs[0].algorithm for layer in plans[0].layers} == {"hfmg"}
