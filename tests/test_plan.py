"""Which layers are quantized and how: the plan, on both targets, under each configuration."""

import numpy as np
import pytest
from layer_cases import BY_ID, CASES, layer_node, named
from passes.graphs import parse

from amct_lite import ir
from amct_lite.config import Override, QuantConfig
from amct_lite.errors import ConfigError, UnsupportedModelError
from amct_lite.plan import layer_facts, resolve

OPSET = '<ir_version: 8, opset_import: ["": 13]>'
GENERIC = QuantConfig(target="generic")
ASCEND = QuantConfig(target="ascend")


def model_of(text: str) -> ir.Model:
    return named(parse(text, "w w2 w3 b", OPSET))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_generic_target_takes_every_layer(case) -> None:
    plan = resolve(GENERIC, case.model())
    assert (len(plan.layers), plan.skips) == (1, ())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_ascend_target_takes_what_atc_takes(case) -> None:
    model = case.model()
    plan = resolve(ASCEND, model)
    facts = layer_facts("ascend", model)[layer_node(model).name]
    if case.refused:
        assert plan.layers == ()
        assert case.refused in plan.skips[0].reason
        assert not facts.quantizable
        assert facts.reason == plan.skips[0].reason
    else:
        assert (len(plan.layers), plan.skips, facts.quantizable) == (1, (), True)


@pytest.mark.parametrize(
    ("case_id", "config", "symmetric"),
    [
        ("conv2d", ASCEND, False),
        ("conv3d", ASCEND, True),
        ("conv3d", GENERIC, False),
        ("matmul_two", GENERIC, True),
        ("matmul_two", ASCEND, True),
        ("conv2d", QuantConfig(symmetric=True), True),
    ],
)
def test_who_wants_no_zero_point_gets_none(case_id: str, config: QuantConfig, symmetric: bool) -> None:
    (layer,) = resolve(config, BY_ID[case_id].model()).layers
    assert {tensor.spec.symmetric for tensor in layer.inputs} == {symmetric}
    assert bool(layer.notes) == (symmetric and not config.symmetric)


@pytest.mark.parametrize(
    ("case_id", "target", "asked", "given", "note"),
    [
        ("conv2d_dilated", "ascend", (16, 4), (16, 4), ""),
        ("gemm", "ascend", (4, 4), (4, 4), ""),
        ("conv2d_group", "ascend", (16, 4), (16, 8), "group = 2"),
        ("conv2d_group", "generic", (16, 4), (16, 4), ""),
        ("conv2d", "ascend", (8, 4), (8, 8), "it has 3 of them"),
        ("conv2d", "ascend", (4, 4), (8, 8), "INT4 data go with INT4 weights only"),
        ("conv2d", "generic", (4, 8), (8, 8), "INT4 data go with INT4 weights only"),
        ("conv2d_depthwise", "ascend", (8, 6), (8, 6), ""),
        ("matmul_two", "ascend", (16, 8), (8, None), "INT8 on both sides"),
        ("pool", "ascend", (16, 4), (16, None), ""),
        ("pool", "ascend", (4, 4), (8, None), "INT4 data go with INT4 weights only"),
    ],
)
def test_a_width_that_a_layer_cannot_have_becomes_8_bits_with_a_note(case_id, target, asked, given, note) -> None:
    (layer,) = resolve(QuantConfig(target=target, bits=asked[0], weight_bits=asked[1]), BY_ID[case_id].model()).layers
    assert (layer.inputs[0].spec.bits, layer.weight_spec and layer.weight_spec.bits) == given
    assert note in "; ".join(layer.notes)
    assert bool(note) == any("INT8" in text for text in layer.notes)


def test_16_bits_are_refused_before_calibration_where_the_opset_cannot_be_raised() -> None:
    text = """g (float[1,4,3,3] x, float[4,4,1,1] w, float[2] s, float[2] t) => (float[1,4,3,3] y)
        { h = GroupNormalization <num_groups = 2> (x, s, t) y = Conv (h, w) }"""
    model = named(parse(text, "w s t", '<ir_version: 8, opset_import: ["": 18]>\n'))
    assert resolve(QuantConfig(), model).layers
    with pytest.raises(UnsupportedModelError, match=r"16-bit activations need opset 21.*GroupNormalization.*Or use 8 bits"):
        resolve(QuantConfig(bits=16), model)


@pytest.mark.parametrize(
    ("case_id", "target", "choice", "per_channel"),
    [
        ("conv2d", "ascend", "auto", True),
        ("deconv_group", "ascend", "auto", True),
        ("gemm", "ascend", "auto", False),
        ("matmul_bias", "ascend", "auto", False),
        ("gemm", "generic", "auto", True),
        ("matmul_left", "generic", "auto", True),
        ("gemm", "ascend", "all", True),
        ("conv2d", "ascend", "none", False),
        ("conv2d", "generic", "none", False),
    ],
)
def test_who_gets_a_scale_a_channel(case_id: str, target: str, choice: str, per_channel: bool) -> None:
    (layer,) = resolve(QuantConfig(target=target, per_channel=choice), BY_ID[case_id].model()).layers
    assert layer.weight_spec.per_channel == per_channel


SHARED = "g (float[1,3,5,5] x, float[3,3,3,3] w) => (float[1,3,1,1] y) { h = Conv (x, w) y = Conv (h, w) }"


def test_a_shared_weight_is_for_the_generic_target_only() -> None:
    model = model_of(SHARED)
    assert len(resolve(GENERIC, model).layers) == 2
    refused = resolve(ASCEND, model)
    assert {skip.reason for skip in refused.skips} == {
        "its weight is shared with another layer, which the Ascend target does not take"
    }


def test_a_shared_weight_is_not_to_blame_where_the_target_takes_neither_reader() -> None:
    text = """g (int64[3] ids, int64[3] others, float[5,4] w) => (float[3,4] y, float[3,4] z)
        { y = Gather (w, ids) z = Gather (w, others) }"""
    assert {skip.reason.partition(" for ")[0] for skip in resolve(ASCEND, model_of(text)).skips} == {
        "tables are stored as integers"
    }


def test_layers_that_read_one_tensor_observe_it_once() -> None:
    text = """g (float[1,3,6,6] x, float[4,3,3,3] w, float[5,3,3,3] w2)
        => (float[1,4,4,4] y, float[1,5,4,4] z, float[1,3,5,5] p)
        { y = Conv (x, w) z = Conv (x, w2) p = AveragePool <kernel_shape = [2, 2]> (x) }"""
    plan = resolve(ASCEND, model_of(text))
    assert len(plan.layers) == 3
    assert [(t.name, t.channel_axis, t.channels) for t in plan.tensors] == [("x", 1, 3)]


def test_skips_say_where_they_were_asked_for() -> None:
    plan = resolve(QuantConfig(skip=("Conv_0",)), BY_ID["conv2d"].model())
    assert plan.skips[0].reason == "the configuration skips it (skip lists 'Conv_0')"


@pytest.mark.parametrize("skip", ["Conv_0", "Conv*", "Conv"])
def test_a_layer_is_skipped_by_name_pattern_or_type(skip: str) -> None:
    assert resolve(QuantConfig(skip=(skip,)), BY_ID["conv2d"].model()).layers == ()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (QuantConfig(skip=("Conv_9",)), r"skip: 'Conv_9' is no node, pattern or operator type .*did you mean 'Conv_0'"),
        (QuantConfig(layers={"Cnv_0": Override(bits=8)}), r"layers.*'Cnv_0' is no node"),
        (QuantConfig(algorithm="imfr"), r"activation.*imfr.*ifmr"),
        (QuantConfig(weight_algorithm="arc"), r"weight.*arc.*arq"),
        (QuantConfig(types={"Conv": Override(algorithm="hfmg", options={"num_of_bins": 3})}), r"types.*num_of_bins"),
    ],
)
def test_what_the_configuration_mentions_must_exist(config: QuantConfig, message: str) -> None:
    with pytest.raises(ConfigError, match=f"(?is){message}"):
        resolve(config, BY_ID["conv2d"].model())


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(ConfigError, match=r"(?s)nobody.*nothing"):
        resolve(QuantConfig(skip=("nobody",), algorithm="nothing"), BY_ID["conv2d"].model())


def test_layers_inside_bodies_and_weights_of_other_ops_are_named() -> None:
    text = """g (float[2,8] x, bool q, float[8,5] w, float[8,5] w2) => (float[2,5] y)
        { y = If (q) <then_branch = t () => (float[2,5] a) { a = MatMul (x, w) },
                      else_branch = e () => (float[2,5] c) { c = MatMul (x, w2) }> }"""
    plan = resolve(ASCEND, model_of(text))
    assert plan.layers == ()
    assert [(s.op_type, s.reason) for s in plan.skips] == [("MatMul", "it stands inside the body of a control-flow node")] * 2


@pytest.mark.parametrize(("shape", "named"), [("3,2,1,1", True), ("1,2,1,1", False)])
def test_weights_of_operators_that_are_none_of_onnx_are_named(shape: str, named: bool) -> None:
    text = f"g (float[1,2,4,4] x, float[{shape}] w) => (float[1,n,4,4] y) {{ y = com.microsoft.Strange (x, w) }}"
    reasons = [skip.reason for skip in resolve(ASCEND, model_of(text)).skips]
    assert reasons == ["com.microsoft.Strange has weights, but is not among the operators that are quantized"] * named


def test_an_embedding_whose_columns_are_picked_is_told_so() -> None:
    text = """g (int64[3] ids, float[5,4] w) => (float[5,3] y) { y = Gather <axis=1> (w, ids) }"""
    (skip,) = resolve(QuantConfig(target="ort"), model_of(text)).skips
    assert (skip.op_type, skip.reason) == ("Gather", "only whole rows of a matrix are picked as integers")


def test_what_picks_a_size_inside_a_body_is_no_layer() -> None:
    text = """g (float[2,8] x, bool q, float[8,5] w) => (float[2,5] y)
        { y = If (q) <then_branch = t () => (float[2,5] a) { a = MatMul (x, w) },
                      else_branch = e () => (float[2,5] c) {
                        size = Shape (x) one = Constant <value = int64 {0}> () rows = Gather (size, one)
                        five = Constant <value = int64[1] {5}> ()
                        ax = Constant <value_ints = [0]> () row = Unsqueeze (rows, ax) both = Concat <axis = 0> (row, five)
                        c = ConstantOfShape (both) }> }"""
    assert [skip.op_type for skip in resolve(ASCEND, model_of(text)).skips] == ["MatMul"]


def test_a_table_that_is_only_moved_is_no_weight_but_an_embedding_is() -> None:
    text = """g (float[2,4] x, int64[2] times, int64[3] ids, float[2,4] w, float[5,4] w2)
        => (float[4,4] both, float[n,m] anchors, float[3,4] y) {
          both = Concat<axis = 0>(x, w)
          anchors = Expand (w, times)
          y = Gather (w2, ids)
        }"""
    plan = resolve(ASCEND, model_of(text))
    assert [(s.op_type, s.reason.partition(" for ")[0]) for s in plan.skips] == [("Gather", "tables are stored as integers")]


def test_facts_cover_every_node() -> None:
    model = model_of("g (float[1,2,5,5] x, float[3,2,3,3] w) => (float[1,3,3,3] y) { h = Conv (x, w) y = Relu (h) }")
    facts = layer_facts("ascend", model)
    assert (facts["Conv_0"].channels, facts["Conv_0"].input_channels, facts["Conv_0"].quantizable) == (3, 2, True)
    assert (facts["Relu_1"].quantizable, facts["Relu_1"].reason) == (
        False,
        "Relu is not among the operators that are quantized",
    )
    assert layer_facts("ascend", BY_ID["matmul_two"].model())["MatMul_0"].channels == 1


def test_the_plan_does_not_depend_on_numbers() -> None:
    first, second = (resolve(ASCEND, BY_ID["conv2d_group"].model()) for _ in range(2))
    assert first == second
    assert np.array_equal([t.name for t in first.tensors], ["x"])


def test_what_picks_a_size_inside_a_function_is_no_layer() -> None:
    """A function of another opset, which cannot be written out."""
    text = """g (float[2,8] x, float[8,5] w) => (float[2,5] y) { y = custom.part (x, w) }
      <domain: "custom", opset_import: ["": 12]>
      part (a, b) => (c) {
        size = Shape (a) zero = Constant <value = int64 {0}> () rows = Gather (size, zero) as_float = Cast <to = 1> (rows)
        product = MatMul (a, b) c = Mul (product, as_float) }"""
    model = named(parse(text, "", '<ir_version: 8, opset_import: ["": 13, "custom": 1]>'))
    assert [(skip.op_type, skip.reason) for skip in resolve(ASCEND, model).skips] == [
        ("MatMul", "it stands inside the model-local function part")
    ]
