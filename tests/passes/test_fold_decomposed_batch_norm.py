"""Mul, Div, Add and Sub by per-channel constants fold into the layer in front of them."""

import numpy as np
import pytest
from graphs import apply, constant, ops, parse

from amct_lite import ir
from amct_lite.passes import infer_shapes
from amct_lite.passes.fold_decomposed_batch_norm import run


def chain(body: str, constants: str, layer: str = "Conv(x, w)", weight: str = "float[4,3,3,3]") -> str:
    declared = "".join(f", {shape} {name}" for name, shape in (item.split(":") for item in constants.split()))
    return f"g (float[2,3,6,6] x, {weight} w{declared}) => (float[n,c,h,v] y) {{ c = {layer} {body} }}"


@pytest.mark.parametrize(
    ("body", "constants"),
    [
        ("s = Mul(c, k)  y = Add(s, m)", "k:float[4,1,1] m:float[1,4,1,1]"),
        ("s = Mul(k, c)  y = Add(m, s)", "k:float[4,1,1] m:float[4,1,1]"),
        ("d = Sub(c, k)  q = Div(d, vark)  s = Mul(q, m)  y = Add(s, n)",
         "k:float[1,4,1,1] vark:float[1,4,1,1] m:float[4,1,1] n:float[4,1,1]"),
        ("y = Sub(k, c)", "k:float[4,1,1]"),
        ("y = Add(c, k)", "k:float[4,1,1]"),
        ("s = Mul(c, k) y = Add(s, m)", "k:float m:float[1]"),
    ],
    ids=["mul_add", "constant_first", "whole_batch_norm", "constant_minus_x", "bias_alone", "scalars"],
)  # fmt: skip
def test_per_channel_chain_folds(body, constants):
    names = " ".join(item.split(":")[0] for item in constants.split())
    after, report = apply(run, parse(chain(body, constants), "w " + names))
    assert (ops(after), report.skips) == (["Conv"], ())
    assert report.changed == body.count("=")


def test_bias_of_the_layer_is_carried_along():
    text = chain("s = Mul(c, k)  y = Add(s, m)", "b:float[4] k:float[4,1,1] m:float[4,1,1]", "Conv(x, w, b)")
    after, _ = apply(run, parse(text, "w b k m"))
    assert ops(after) == ["Conv"]


def test_pure_bias_leaves_a_shared_weight_shared():
    text = """g (float[2,3,6,6] x, float[4,3,3,3] w, float[4,1,1] k) => (float[2,4,4,4] y, float[2,4,4,4] z) {
        c = Conv(x, w)  y = Add(c, k)  z = Conv(x, w)
    }"""
    after, _ = apply(run, parse(text, "w k"))
    assert [node.inputs[1].name for node in after.graph] == ["w", "w"]


def test_grouped_conv_transpose_takes_the_chain():
    text = chain(
        "s = Mul(c, k)  y = Add(s, m)",
        "k:float[4,1,1] m:float[4,1,1]",
        "ConvTranspose<group=3>(x, w)",
        "float[3,2,2,2]",
    )
    text = text.replace("float[4,1,1]", "float[6,1,1]")
    after, _ = apply(run, parse(text, "w k m"))
    assert ops(after) == ["ConvTranspose"]


def test_gemm_takes_the_chain_along_its_last_axis():
    text = """g (float[2,3] x, float[3,5] w, float[5] k, float[1,5] m) => (float[2,5] y) {
        c = Gemm(x, w)  s = Mul(c, k)  y = Sub(s, m)
    }"""
    after, _ = apply(run, parse(text, "w k m"))
    assert ops(after) == ["Gemm"]


def test_batch_normalization_takes_the_mul_and_add_behind_it():
    text = """g (float[2,3,4,4] x, float[3] gamma, float[3] beta, float[3] mean, float[3] var, float[3,1,1] k,
    float[3,1,1] m) => (float[2,3,4,4] y) {
        c = BatchNormalization(x, gamma, beta, mean, var)  s = Mul(c, k)  y = Add(s, m)
    }"""
    model = parse(text, "gamma beta mean var k m")
    infer_shapes.run(model)  # without a rank nobody knows which axis (3,1,1) meets
    after, _ = apply(run, model)
    assert ops(after) == ["BatchNormalization"]


@pytest.mark.parametrize(
    ("shape", "why"),
    [
        ("float[4]", "lies along the width"),
        ("float[4,4,1]", "differs along the height"),
        ("float[2,1,1,1]", "differs along the batch"),
        ("float[1,1,1,1,1]", "adds an axis"),
        ("float[2,1,4,1,1]", "adds an axis that counts"),
    ],
)
def test_constant_that_is_not_per_channel_is_refused(shape, why):
    text = chain("y = Mul(c, k)", f"k:{shape}").replace("[n,c,h,v]", "")
    after, report = apply(run, parse(text, "w k"))
    assert ops(after) == ["Conv", "Mul"], why
    assert "not one number for each of the 4 channels" in report.skips[0].reason


def test_single_channel_widened_by_the_constant_is_refused():
    text = chain("y = Add(c, k)", "k:float[4,1,1]", weight="float[1,3,3,3]")
    after, report = apply(run, parse(text, "w k"))
    assert (ops(after), len(report.skips)) == (["Conv", "Add"], 1)


def test_division_of_a_constant_by_the_layer_stays():
    after, report = apply(run, parse(chain("y = Div(k, c)", "k:float[4,1,1]"), "w k"))
    assert (ops(after), report.skips) == (["Conv", "Div"], ())


def test_sum_with_itself_stays():
    after, report = apply(run, parse(chain("y = Add(c, c)", ""), "w"))
    assert (ops(after), report.changed) == (["Conv", "Add"], 0)


def test_division_by_zero_is_refused_and_changes_nothing():
    model = parse(chain("y = Div(c, k)", "k:float[4,1,1]"), "w", k=np.zeros((4, 1, 1), np.float32))
    before = constant(model, "w").copy()
    report = run(model)
    assert "infinite or NaN" in report.skips[0].reason
    np.testing.assert_array_equal(constant(model, "w"), before)


def test_value_in_the_middle_that_is_an_output_ends_the_chain():
    text = chain("s = Mul(c, k)  y = Add(s, m)", "k:float[4,1,1] m:float[4,1,1]").replace("=> (", "=> (float[n,c,h,v] s, ")
    after, report = apply(run, parse(text, "w k m"))
    assert (ops(after), report.changed) == (["Conv", "Add"], 1)
    assert ir.constant_of(after.graph[1].inputs[1]) is not None


def test_value_captured_by_a_body_is_not_folded_over():
    text = """g (float[2,3,6,6] x, bool q, float[4,3,3,3] w, float[4,1,1] k) => (float[n,c,h,v] y, float[n,c,h,v] z) {
        c = Conv(x, w)
        y = Mul(c, k)
        z = branches_on(c)
    }"""
    _, report = apply(run, parse(text, "w k"))
    assert report.changed == 0
