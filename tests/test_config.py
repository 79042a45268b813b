"""What a configuration means: checks of values, precedence, and the way to a mapping and back."""

from itertools import permutations

import pytest

from amct_lite.config import LayerConfig, Override, QuantConfig, parse_input_shapes
from amct_lite.errors import ConfigError

FULL = QuantConfig(
    target="generic",
    algorithm="percentile",
    options={"percentile": 99.9},
    bits=16,
    symmetric=True,
    weight_algorithm="mse",
    per_channel="all",
    bias_correction="auto",
    skip=("conv1", "head.*", "MaxPool"),
    batches=4,
    trust_data=True,
    input_shapes={"x": (1, 3, 8, 8)},
    fusion=False,
    skip_fusion=("conv*",),
    types={"MatMul": Override(symmetric=False, per_channel="none")},
    layers={"enc.*": Override(skip=True), "enc.1": Override(skip=False, algorithm="kl", options={"bins": 128})},
)


def test_defaults_hold_for_a_layer_that_nothing_is_said_of() -> None:
    assert QuantConfig().for_layer("conv1", "Conv") == LayerConfig(
        skip="", algorithm="ifmr", bits=8, symmetric=False, weight_algorithm="arq", weight_bits=8, per_channel="auto"
    )


@pytest.mark.parametrize("config", [QuantConfig(), FULL])
def test_mapping_and_back_is_the_same(config: QuantConfig) -> None:
    assert QuantConfig.from_mapping(config.to_mapping()) == config


def test_mapping_leaves_out_what_is_unset() -> None:
    assert QuantConfig(skip=("a",)).to_mapping() == {
        "target": "ascend",
        "balance": 0.0,
        "balance_fold": False,
        "fallback": 20.0,
        "trust_data": False,
        "bias_correction": "auto",
        "skip": ["a"],
        "fusion": True,
        "activation": {"algorithm": "ifmr", "bits": 8, "symmetric": False},
        "weight": {"algorithm": "arq", "bits": 8, "per_channel": "auto"},
    }


def test_layer_wins_over_type_wins_over_global() -> None:
    config = QuantConfig(
        algorithm="minmax",
        types={"Conv": Override(algorithm="kl", symmetric=True)},
        layers={"conv1": Override(algorithm="mse")},
    )
    assert config.for_layer("fc", "Gemm").algorithm == "minmax"
    assert config.for_layer("conv2", "Conv").algorithm == "kl"
    assert (config.for_layer("conv1", "Conv").algorithm, config.for_layer("conv1", "Conv").symmetric) == ("mse", True)


def test_exact_name_wins_over_patterns_and_later_pattern_over_earlier() -> None:
    config = QuantConfig(
        layers={"a.1": Override(algorithm="kl"), "a.*": Override(algorithm="mse"), "*.2": Override(algorithm="hfmg")}
    )
    assert [config.for_layer(name, "Conv").algorithm for name in ("a.1", "a.3", "a.2")] == ["kl", "mse", "hfmg"]


def test_name_with_glob_characters_matches_itself() -> None:
    config = QuantConfig(layers={"conv[0]": Override(symmetric=True)})
    assert config.for_layer("conv[0]", "Conv").symmetric


def test_options_belong_to_their_algorithm() -> None:
    config = QuantConfig(
        algorithm="ifmr",
        options={"search_step": 0.02},
        layers={
            "more": Override(options={"search_start": 0.5}),
            "other": Override(algorithm="kl"),
            "same": Override(algorithm="ifmr"),
        },
    )
    assert config.for_layer("more", "Conv").options == {"search_step": 0.02, "search_start": 0.5}
    assert config.for_layer("other", "Conv").options == {}
    assert config.for_layer("same", "Conv").options == {"search_step": 0.02}


def test_another_algorithm_drops_the_options_of_the_old_one() -> None:
    config = QuantConfig(algorithm="ifmr", options={"search_step": 0.02})
    assert config.with_algorithm("kl", bins=64).options == {"bins": 64}
    assert config.with_algorithm("ifmr").options == {"search_step": 0.02}


def test_another_weight_algorithm_drops_the_options_of_the_old_one() -> None:
    config = QuantConfig(weight_algorithm="gptq", weight_options={"damping": 0.02})
    assert config.with_weight_algorithm("ada").weight_options == {}
    assert config.with_weight_algorithm("gptq").weight_options == {"damping": 0.02}


def test_of_what_is_said_of_a_tensor_a_name_is_stronger_than_a_pattern_than_a_type_in_whatever_order() -> None:
    said = {"add1:0": "kl", "add*:0": "mse", "Add:*": "percentile"}
    for order in permutations(said):
        config = QuantConfig(tensors={key: Override(algorithm=said[key]) for key in order})
        found = [config.for_tensor(name, "Add", 0) for name in ("add1", "add2", "sum")]
        assert [layer.algorithm for layer in found if layer is not None] == ["kl", "mse", "percentile"]


def test_each_name_pattern_or_type_of_float16_counts() -> None:
    config = QuantConfig(float16=("head", "block*", "Softmax"))
    asked = {"head": "Conv", "block1.conv": "Conv", "attention": "Softmax", "stem": "Conv"}
    assert [name for name, op_type in asked.items() if config.in_half(name, op_type)] == ["head", "block1.conv", "attention"]


@pytest.mark.parametrize(
    ("name", "op_type", "reason"),
    [
        ("conv1", "Conv", "the configuration skips it (skip lists 'conv1')"),
        ("head.fc", "Gemm", "the configuration skips it (skip lists 'head.*')"),
        ("p", "MaxPool", "the configuration skips it (skip lists 'MaxPool')"),
        ("enc.2", "Conv", 'the configuration skips it (layers["enc.*"])'),
        ("enc.1", "Conv", ""),
        ("conv2", "Conv", ""),
    ],
)
def test_skips_have_a_reason(name: str, op_type: str, reason: str) -> None:
    assert FULL.for_layer(name, op_type).skip == reason


def test_layer_may_be_taken_although_its_type_is_skipped() -> None:
    config = QuantConfig(skip=("Conv",), layers={"conv1": Override(skip=False)})
    assert config.for_layer("conv1", "Conv").skip == ""
    assert config.for_layer("conv2", "Conv").skip != ""


def test_name_may_be_skipped_twice() -> None:
    assert QuantConfig(skip=("a", "b", "a")).skip == ("a", "b")


def test_everything_that_is_named_can_be_checked_against_a_model() -> None:
    assert FULL.layer_patterns == ("conv1", "head.*", "MaxPool", "MatMul", "enc.*", "enc.1")
    assert [FULL.place_of(p) for p in ("head.*", "MatMul", "enc.*")] == ["skip", 'types["MatMul"]', 'layers["enc.*"]']


def test_every_algorithm_that_is_named_can_be_checked() -> None:
    config = QuantConfig(types={"Conv": Override(algorithm="kl", weight_algorithm="mse")})
    assert [(use.place, use.name) for use in config.algorithms()] == [
        ("activation.algorithm", "ifmr"),
        ('types["Conv"].activation.algorithm', "kl"),
    ]
    assert [(use.place, use.name) for use in config.weight_algorithms()] == [
        ("weight.algorithm", "arq"),
        ('types["Conv"].weight.algorithm', "mse"),
    ]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"target": "npu"}, r"^target = 'npu' must be ascend, ort or generic\.$"),
        ({"target": "ascent"}, r"must be ascend, ort or generic \(did you mean 'ascend'\?\)"),
        ({"batches": 0}, "^batches = 0 must be a whole number of batches, 1 or more"),
        ({"batches": True}, "^batches = True must be a whole number"),
        ({"batches": "8"}, "^batches = '8' must be a whole number"),
        ({"trust_data": 1}, "^trust_data = 1 must be true or false, without quotes"),
        ({"bias_correction": "yes"}, "^bias_correction = 'yes' must be none, analytic, full or auto"),
        ({"skip": "conv1"}, r'^skip = \'conv1\' must be a list: \["conv1"\]'),
        ({"skip": [1]}, "must be a list of node names, patterns or operator types"),
        ({"activation": {"bits": 3}}, r"^activation\.bits = 3 must be 4, 8 or 16"),
        ({"activation": {"bits": "8"}}, r"^activation\.bits = '8' must be 4, 8 or 16"),
        ({"activation": {"symmetric": "no"}}, r"^activation\.symmetric = 'no' must be true or false"),
        ({"activation": {"algorithm": 3}}, r"^activation\.algorithm = 3 must be a name"),
        ({"activation": {"options": [1]}}, r"^activation\.options = \[1\] must be a table of option names"),
        ({"activation": "kl"}, "^activation = 'kl' must be a table of settings"),
        ({"weight": {"per_channel": True}}, r"^weight\.per_channel = True must be auto, all or none"),
        ({"weight": {"bits": 5}}, r"^weight\.bits = 5 must be 4, 6, 7 or 8"),
        (
            {"algorithm": "kl"},
            r"^algorithm is unknown \(did you mean 'activation\.algorithm'\?\); the keys here are target, ",
        ),
        ({"tpyes": {}}, r"^tpyes is unknown \(did you mean 'types'\?\)"),
        (
            {"weight": {"per_chanel": "all"}},
            r"\(did you mean 'per_channel'\?\); the keys here are algorithm, options, bits, per_channel\.$",
        ),
        ({"layers": {"conv1": {"skip": "yes"}}}, r'^layers\["conv1"\]\.skip = \'yes\' must be true or false'),
        (
            {"layers": {"conv1": {"target": "ascend"}}},
            r'^layers\["conv1"\]\.target is unknown; the keys here are skip, ',
        ),
        ({"layers": ["conv1"]}, r"^layers = \['conv1'\] must be a table of settings"),
        ({"types": {"Conv": "kl"}}, r'^types\["Conv"\] = \'kl\' must be a table of settings'),
        ({"layers": {1: {}}}, r'^layers\["1"\]: the key 1 must be text, put it in quotes'),
        ({"input_shapes": {"x": [0, 3]}}, r"must give 'x' a list of dimensions above 0 \(behind the first also 0, of what may"),
        ({"input_shapes": "x"}, "^input_shapes = 'x' cannot be read: input shape 'x' is not NAME:DIM"),
        ({"input_shapes": [1]}, "must be a table such as"),
    ],
)
def test_bad_settings_are_named(data: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        QuantConfig.from_mapping(data)


def test_all_problems_are_listed_together() -> None:
    data = {"target": "x", "batches": 0, "activation": {"bits": 1}}
    with pytest.raises(ConfigError, match=r"^q has 3 problems:\n  q: target = .*\n  q: batches = .*\n  q: activation\.bits = "):
        QuantConfig.from_mapping(data, "q")


def test_unset_settings_are_defaults() -> None:
    assert QuantConfig.from_mapping({"batches": None, "activation": None, "layers": {"a": None}}) == QuantConfig(
        layers={"a": Override()}
    )


def test_values_given_in_python_are_checked_too() -> None:
    with pytest.raises(ConfigError, match=r"^bits = 5 must be 4, 8 or 16"):
        QuantConfig(bits=5)
    with pytest.raises(ConfigError, match=r'^layers\["a"\]\.per_channel = \'some\' must be auto, all or none'):
        QuantConfig(layers={"a": Override(per_channel="some")})
    with pytest.raises(ConfigError, match=r'^types\["Conv"\] = .* must be an Override'):
        QuantConfig(types={"Conv": {"skip": True}})  # type: ignore[dict-item] # the mistake that is tested


@pytest.mark.parametrize(
    ("text", "shapes"),
    [
        ("x:1,3,224,224", {"x": (1, 3, 224, 224)}),
        ("in1:16,3,224,224;in2:16,10", {"in1": (16, 3, 224, 224), "in2": (16, 10)}),
        ("input:0:1,3", {"input:0": (1, 3)}),
        ("x:1,1,8;past:1,0,8", {"x": (1, 1, 8), "past": (1, 0, 8)}),
        (" x : 1 , 3 ; ", {"x ": (1, 3)}),
    ],
)
def test_input_shapes_are_read(text: str, shapes: dict[str, tuple[int, ...]]) -> None:
    assert parse_input_shapes(text) == {name.strip(): dims for name, dims in shapes.items()}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the input shapes are empty"),
        ("1,3,224", r"input shape '1,3,224' is not NAME:DIM,DIM,…"),
        ("x:", "input shape 'x:' is not NAME:DIM"),
        ("x:1,-1", "input shape 'x:1,-1' is not NAME:DIM"),
        ("x:0,3", r"with dimensions above 0 \(behind the first also 0, of what may be empty\), such as"),
        ("x:1,N", "such as x:1,3,224,224"),
        ("x:1x3", "is not NAME:DIM"),
        (f"x:{'9' * 5000}", "is not NAME:DIM"),
        ("x:1;x:2", "'x' was given a shape before"),
    ],
)
def test_input_shapes_that_cannot_be_read_are_shown(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_input_shapes(text)
