"""BatchNormalization folds into the layer in front of it, or into an unpadded Conv behind it."""

import numpy as np
import pytest
from graphs import apply, constant, ops, parse

from amct_lite.passes.fold_batch_norm import run

STATISTICS = "float[4] gamma, float[4] beta, float[4] mean, float[4] var"
NORM = "gamma beta mean var "


def conv(weight: str, attributes: str = "", bias: str = "", channels: int = 6) -> str:
    operands = "x, w, b" if bias else "x, w"
    declared = f"{weight} w, {bias} b" if bias else f"{weight} w"
    return f"""g (float[2,{channels},7,7] x, {declared}, {STATISTICS}) => (float[n,4,h,v] y) {{
        c = Conv<{attributes}>({operands})
        y = BatchNormalization(c, gamma, beta, mean, var)
    }}"""


@pytest.mark.parametrize(
    ("weight", "attributes", "bias"),
    [
        ("float[4,6,3,3]", "", ""),
        ("float[4,6,3,3]", "pads=[1,1,1,1], strides=[2,2]", "float[4]"),
        ("float[4,3,3,3]", "group=2", "float[4]"),
    ],
    ids=["plain", "padded_with_bias", "group"],
)
def test_conv_takes_the_normalization_behind_it(weight, attributes, bias):
    after, report = apply(run, parse(conv(weight, attributes, bias), "w b " + NORM))
    assert (ops(after), report.changed, report.skips) == (["Conv"], 1, ())


def test_depthwise_conv_takes_the_normalization_behind_it():
    after, _ = apply(run, parse(conv("float[4,1,3,3]", "group=4", channels=4), "w " + NORM))
    assert ops(after) == ["Conv"]


def test_folded_numbers_are_those_worked_by_hand():
    """gamma/sqrt(var+eps) = 3/sqrt(4) = 1.5: weight 2·1.5 = 3, bias (1 - 0.5)·1.5 + 0.25 = 1."""
    text = """g (float[1,1,2,2] x, float[1,1,1,1] w, float[1] b, float[1] gamma, float[1] beta, float[1] mean,
    float[1] var) => (float[1,1,2,2] y) {
        c = Conv(x, w, b)  y = BatchNormalization<epsilon=0.0>(c, gamma, beta, mean, var)
    }"""
    numbers = {"b": 1.0, "gamma": 3.0, "beta": 0.25, "mean": 0.5, "var": 4.0}
    values = {name: np.array([number], np.float32) for name, number in numbers.items()}
    after, _ = apply(run, parse(text, w=np.full((1, 1, 1, 1), 2, np.float32), **values))
    assert (constant(after, "w").item(), constant(after, "b").item()) == (3.0, 1.0)


@pytest.mark.parametrize("weight", ["float[6,4,3,3]", "float[6,2,3,3]", "float[6,1,3,3]"])
def test_conv_transpose_scales_the_output_channels_of_each_group(weight):
    group = 4 // int(weight[8])
    channels = {1: 6, 2: 6, 4: 8}[group]
    weight = weight.replace("[6", f"[{channels}")
    text = f"""g (float[2,{channels},5,5] x, {weight} w, float[4] b, {STATISTICS}) => (float[n,4,h,v] y) {{
        c = ConvTranspose<group={group}, strides=[2,2], output_padding=[1,1]>(x, w, b)
        y = BatchNormalization(c, gamma, beta, mean, var)
    }}"""
    after, _ = apply(run, parse(text, "w b " + NORM))
    assert ops(after) == ["ConvTranspose"]


@pytest.mark.parametrize("attributes", ["", "transB=1", "alpha=0.5, beta=3.0"])
def test_gemm_takes_the_normalization_behind_it(attributes):
    shape = "float[4,5]" if "transB" in attributes else "float[5,4]"
    text = f"""g (float[3,5] x, {shape} w, float[1,4] b, {STATISTICS}) => (float[3,4] y) {{
        c = Gemm<{attributes}>(x, w, b)
        y = BatchNormalization(c, gamma, beta, mean, var)
    }}"""
    after, _ = apply(run, parse(text, "w b " + NORM))
    assert ops(after) == ["Gemm"]


@pytest.mark.parametrize(("group", "inputs"), [(1, 4), (2, 2), (4, 1)])
def test_unpadded_conv_takes_the_normalization_in_front_of_it(group, inputs):
    text = f"""g (float[2,4,7,7] x, float[8,{inputs},3,3] w, {STATISTICS}) => (float[2,8,5,5] y) {{
        n = BatchNormalization(x, gamma, beta, mean, var)
        y = Conv<group={group}>(n, w)
    }}"""
    after, report = apply(run, parse(text, "w " + NORM))
    assert (ops(after), report.changed) == (["Conv"], 1)


def test_two_normalizations_in_a_row_both_fold_forward():
    text = f"""g (float[2,4,7,7] x, float[8,4,3,3] w, {STATISTICS}) => (float[2,8,5,5] y) {{
        m = BatchNormalization(x, gamma, beta, mean, var)
        n = BatchNormalization(m, gamma, beta, mean, var)
        y = Conv<auto_pad="VALID">(n, w)
    }}"""
    after, report = apply(run, parse(text, "w " + NORM))
    assert (ops(after), report.changed) == (["Conv"], 2)


@pytest.mark.parametrize("padding", ["pads=[1,1,1,1]", 'auto_pad="SAME_UPPER"'])
def test_padded_conv_refuses_the_normalization_in_front_of_it(padding):
    text = f"""g (float[2,4,7,7] x, float[8,4,3,3] w, {STATISTICS}) => (float[2,8,7,7] y) {{
        n = BatchNormalization(x, gamma, beta, mean, var)
        y = Conv<{padding}>(n, w)
    }}"""
    after, report = apply(run, parse(text, "w " + NORM))
    assert ops(after) == ["BatchNormalization", "Conv"]
    assert "pads its input with zeros" in report.skips[0].reason


def test_shared_weight_is_copied_for_the_layer_that_folds():
    text = f"""g (float[2,4,7,7] x, float[4,4,3,3] w, {STATISTICS}) => (float[2,4,5,5] y, float[2,4,5,5] z) {{
        c = Conv(x, w)
        y = BatchNormalization(c, gamma, beta, mean, var)
        z = Conv(x, w)
    }}"""
    model = parse(text, "w " + NORM)
    after, _ = apply(run, model)
    assert ops(after) == ["Conv", "Conv"]
    np.testing.assert_array_equal(constant(after, "w"), constant(model, "w"))


@pytest.mark.parametrize(
    "reader",
    ["z = Relu(c)", "z = branches_on(c)"],
)
def test_another_reader_keeps_the_normalization(reader):
    text = f"""g (float[2,4,7,7] x, bool q, float[4,4,3,3] w, {STATISTICS}) => (float[n,4,h,v] y, float[n,4,h,v] z) {{
        c = Conv(x, w)
        y = BatchNormalization(c, gamma, beta, mean, var)
        {reader}
    }}"""
    _, report = apply(run, parse(text, "w " + NORM))
    assert (report.changed, "another reader" in report.skips[0].reason) == (0, True)


def test_layer_output_that_is_an_output_of_the_model_keeps_the_normalization():
    text = conv("float[4,6,3,3]").replace("=> (", "=> (float[n,4,h,v] c, ")
    _, report = apply(run, parse(text, "w " + NORM))
    assert (report.changed, "another reader" in report.skips[0].reason) == (0, True)


def test_fold_to_infinite_weights_is_refused():
    extremes = {"gamma": np.full(4, 1e38, np.float32), "var": np.full(4, 1e-5, np.float32)}
    model = parse(conv("float[4,6,3,3]"), "w " + NORM, **extremes)
    before = constant(model, "w").copy()
    report = run(model)
    assert "infinite or NaN" in report.skips[0].reason
    assert "infinite or NaN" in report.notes[0]
    np.testing.assert_array_equal(constant(model, "w"), before)


def test_training_mode_is_refused():
    text = conv("float[4,6,3,3]").replace("BatchNormalization(", "BatchNormalization<training_mode=1>(")
    text = text.replace("y = Batch", "y, m1, m2 = Batch")
    report = run(parse(text, "w " + NORM))
    assert "training mode" in report.skips[0].reason


def test_statistics_from_an_input_are_refused():
    report = run(parse(conv("float[4,6,3,3]"), "w gamma beta mean"))
    assert "not all constant" in report.skips[0].reason


def test_normalization_without_a_layer_says_so():
    text = f"""g (float[2,4,7,7] x, {STATISTICS}) => (float[2,4,7,7] y) {{
        y = BatchNormalization(x, gamma, beta, mean, var)
    }}"""
    _, report = apply(run, parse(text, NORM))
    assert "neither a Conv" in report.skips[0].reason


def test_weight_from_an_input_is_refused():
    _, report = apply(run, parse(conv("float[4,6,3,3]"), NORM))
    assert "the weight of" in report.skips[0].reason


def test_bias_from_an_input_is_refused():
    _, report = apply(run, parse(conv("float[4,6,3,3]", bias="float[4]"), "w " + NORM))
    assert "the bias of" in report.skips[0].reason
