"""Gemm gets the form A·B + C with B (K, N) and C (N,)."""

import numpy as np
import pytest
from graphs import apply, constant, ops, parse

from amct_lite import ir
from amct_lite.passes.normalize_gemm import run


def gemm(attributes: str, weight: str = "float[3,5]", bias: str = "float[5]") -> str:
    return f"g (float[2,3] x, {weight} w, {bias} b) => (float[2,5] y) {{ y = Gemm<{attributes}>(x, w, b) }}"


@pytest.mark.parametrize(
    ("attributes", "weight", "bias"),
    [
        ("transB=1", "float[5,3]", "float[5]"),
        ("alpha=0.5", "float[3,5]", "float[5]"),
        ("beta=2.0", "float[3,5]", "float[5]"),
        ("alpha=0.5, beta=0.25, transB=1", "float[5,3]", "float[1,5]"),
        ("", "float[3,5]", "float[1,5]"),
        ("", "float[3,5]", "float"),
        ("", "float[3,5]", "float[1]"),
        ("", "float[3,5]", "float[1,1]"),
    ],
)
def test_gemm_gets_its_one_form(attributes, weight, bias):
    after, report = apply(run, parse(gemm(attributes, weight, bias), "w b"))
    node = after.graph[0]
    assert (report.changed, report.skips) == (1, ())
    assert (constant(after, "w").shape, constant(after, "b").shape) == ((3, 5), (5,))
    assert (ir.attribute(node, "transB", 0), ir.attribute(node, "alpha", 1.0), ir.attribute(node, "beta", 1.0)) == (
        0,
        1,
        1,
    )


def test_plain_gemm_is_left_alone():
    _, report = apply(run, parse(gemm(""), "w b"))
    assert (report.changed, report.skips) == (0, ())


def test_shared_weight_stays_shared():
    text = """g (float[2,4] x, float[4,4] w) => (float[2,4] y) { a = Gemm<transB=1>(x, w)  y = Gemm<transB=1>(a, w) }"""
    after, _ = apply(run, parse(text, "w"))
    first, second = after.graph
    assert first.inputs[1] is second.inputs[1]
    assert list(after.graph.initializers) == ["w"]


def test_weight_shared_with_another_op_keeps_its_value_there():
    text = """g (float[2,4] x, float[4,4] w) => (float[2,4] y, float[2,4] z) {
        y = Gemm<transB=1>(x, w)  z = MatMul(x, w)
    }"""
    model = parse(text, "w")
    after, _ = apply(run, model)
    np.testing.assert_array_equal(constant(after, "w"), constant(model, "w"))


@pytest.mark.parametrize(
    ("attributes", "bias", "constants", "reason"),
    [
        ("transB=1, alpha=2.0", "float[3]", "b", "its weight is not a constant"),
        ("beta=2.0", "float[3]", "w", "its bias is not a constant"),
        ("transA=1", "float[3]", "w b", "transA=1"),
        ("", "float[3,1]", "w b", "not one number for each of the 3 columns"),
        ("", "float[3,3]", "w b", "not one number for each of the 3 columns"),
    ],
)
def test_what_cannot_be_normalized_is_refused(attributes, bias, constants, reason):
    text = f"g (float[3,3] x, float[3,3] w, {bias} b) => (float[3,3] y) {{ y = Gemm<{attributes}>(x, w, b) }}"
    after, report = apply(run, parse(text, constants))
    assert ops(after) == ["Gemm"]
    assert reason in report.skips[0].reason


def test_weight_captured_by_a_body_keeps_its_value_there():
    text = """g (float[2,4] x, bool q, float[4,4] w) => (float[2,4] y, float[4,4] z) {
        y = Gemm<transB=1>(x, w)
        z = branches_on(w)
    }"""
    _, report = apply(run, parse(text, "w"))
    assert report.changed == 1
