"""Constant nodes become initializers under the same name."""

import numpy as np
import pytest
from graphs import apply, constant, ops, parse

from amct_lite.passes.lift_constants import run


@pytest.mark.parametrize(
    ("attribute", "dtype", "expected"),
    [
        ("value = float[2] {1.0, 2.0}", "float", np.array([1, 2], np.float32)),
        ("value = int8[1] {3}", "int8", np.array([3], np.int8)),
        ("value_float = 1.5", "float", np.float32(1.5)),
        ("value_floats = [1.5, 2.5]", "float", np.array([1.5, 2.5], np.float32)),
        ("value_int = 7", "int64", np.int64(7)),
        ("value_ints = [7, 8]", "int64", np.array([7, 8], np.int64)),
    ],
)
def test_each_form_of_the_attribute_is_lifted(attribute, dtype, expected):
    text = f"g () => ({dtype} y) {{ c = Constant<{attribute}>()  y = Identity(c) }}"
    after, report = apply(run, parse(text))
    assert (ops(after), report.changed) == (["Identity"], 1)
    np.testing.assert_array_equal(constant(after, "c"), expected)
    assert constant(after, "c").dtype == expected.dtype


def test_output_of_the_model_keeps_its_node_and_readers_get_an_initializer():
    text = "g (float[2] x) => (float[2] c, float[2] y) { c = Constant<value = float[2] {1.0, 2.0}>()  y = Add(x, c) }"
    after, _ = apply(run, parse(text))
    assert ops(after) == ["Constant", "Add"]
    np.testing.assert_array_equal(constant(after, "c.value"), [1, 2])


def test_constant_captured_by_a_body_is_lifted():
    text = """g (bool q) => (float[2] y) {
        c = Constant<value = float[2] {1.0, -2.0}>()
        y = branches_on(c)
    }"""
    after, _ = apply(run, parse(text))
    assert ops(after) == ["If"]


def test_constants_inside_bodies_stay():
    text = """g (bool q) => (float y) {
        y = If(q) <then_branch = t () => (float a) { a = Constant<value_float=1.0>() },
                   else_branch = e () => (float b) { b = Constant<value_float=2.0>() }>
    }"""
    _, report = apply(run, parse(text))
    assert report.changed == 0


def test_what_only_holds_a_constant_too_is_none():
    text = "g (int64[1] s) => (float[n] y) { c = ConstantOfShape<value = float[1] {2.0}>(s)  y = Neg(c) }"
    after, report = apply(run, parse(text))
    assert (ops(after), report.changed, report.skips) == (["ConstantOfShape", "Neg"], 0, ())


def test_strings_stay_with_a_reason():
    report = run(parse('g () => (string y) { [words] c = Constant<value_string = "a">()  y = Identity(c) }'))
    assert (report.changed, "value_string" in report.skips[0].reason) == (0, True)
    assert (report.skips[0].node, report.skips[0].op_type) == ("words", "Constant")
