"""Mul and Add by a number a channel become a BatchNormalization; the numbers stay."""

import numpy as np
import pytest
from graphs import apply, ops, parse

from amct_lite import ir
from amct_lite.passes import infer_shapes
from amct_lite.passes.spell_batch_norm import run
from amct_lite.types import Fusion

IMAGE = "float[2,4,3,3] x"


def spelt(body, constants, image=IMAGE, fusion=None):
    """After the pass, with what it reported; `constants` as name:shape."""
    items = [item.split(":") for item in constants.split()]
    declared = "".join(f", float[{shape}] {name}" for name, shape in items)
    model = parse(f"g ({image}{declared}) => (float y) {{ {body} }}", " ".join(name for name, _ in items))
    infer_shapes.run(model)
    return apply((lambda one: run(one, fusion)) if fusion else run, model)


@pytest.mark.parametrize(
    ("body", "constants"),
    [
        ("a = Mul(r, k)  y = Add(a, m)", "k:4,1,1 m:1,4,1,1"),
        ("a = Add(m, r)  y = Mul(k, a)", "k:4,1,1 m:4,1,1"),
        ("a = Sub(r, m)  c = Div(a, vark)  d = Mul(c, n)  y = Add(d, o)", "m:4,1,1 vark:4,1,1 n:4,1,1 o:4,1,1"),
        ("a = Sub(m, r)  y = Mul(a, k)", "k:1 m:4,1,1"),
        ("a = Mul(r, k)  y = Add(a, m)", "k:4,1,1 m:1"),
    ],
    ids=["mul_add", "add_mul", "whole", "negative", "one_term"],
)
def test_a_factor_and_a_term_are_one_node(body, constants):
    after, report = spelt(f"r = Relu(x)  {body}", constants)
    assert ops(after) == ["Relu", "BatchNormalization"]
    assert report.changed == body.count("=")
    assert after.graph[1].name.endswith(".batchnormalization")


def test_what_is_read_elsewhere_in_front_makes_no_difference():
    after, _ = spelt("r = Relu(x)  a = Mul(r, k)  b = Add(a, m)  y = Sub(b, r)", "k:4,1,1 m:4,1,1")
    assert ops(after) == ["Relu", "BatchNormalization", "Sub"]


def test_one_factor_and_one_term_are_kept_to_the_bit():
    values = {"k": np.array([0.1, -2, 3, 1 / 3], np.float32), "m": np.array([1, 1e-7, 0, 5], np.float32)}
    shaped = {name: array.reshape(4, 1, 1) for name, array in values.items()}
    text = f"g ({IMAGE}, float[4,1,1] k, float[4,1,1] m) => (float y) {{ a = Mul(x, k)  y = Add(a, m) }}"
    after, _ = apply(run, parse(text, **shaped))
    norm = after.graph[0]
    scale, shift, mean, variance = (ir.constant_of(value) for value in norm.inputs[1:])
    assert (scale.tolist(), shift.tolist()) == (values["k"].tolist(), values["m"].tolist())
    assert (mean.tolist(), variance.tolist(), ir.attribute(norm, "epsilon", 1.0)) == ([0.0] * 4, [1.0] * 4, 0.0)


@pytest.mark.parametrize(
    ("body", "constants", "image"),
    [
        ("y = Mul(x, k)", "k:4,1,1", IMAGE),
        ("a = Mul(x, k)  y = Mul(a, m)", "k:4,1,1 m:4,1,1", IMAGE),
        ("a = Mul(x, k)  y = Add(a, m)", "k:1 m:1", IMAGE),
        ("a = Mul(x, k)  y = Add(a, m)", "k:3,1 m:4,1,1", IMAGE),
        ("a = Mul(x, k)  y = Add(a, m)", "k:4,1 m:4,1", "float[2,4,3] x"),
        ("a = Mul(x, k)  b = Add(a, m)  y = Sub(b, a)", "k:4,1,1 m:4,1,1", IMAGE),
        ("a = Div(k, x)  y = Add(a, m)", "k:4,1,1 m:4,1,1", IMAGE),
    ],
    ids=["no_term", "no_term_either", "one_number", "of_a_row", "no_image", "read_between", "divides_a_constant"],
)
def test_anything_else_stays(body, constants, image):
    after, report = spelt(body, constants, image)
    assert report.changed == 0
    assert "BatchNormalization" not in ops(after)


def test_what_is_to_stay_apart_does():
    body, constants = "[one] a = Mul(x, k)  [two] y = Add(a, m)", "k:4,1,1 m:4,1,1"
    assert spelt(body, constants)[1].changed == 2
    for fusion in (Fusion(enabled=False), Fusion(apart=frozenset({"two"}))):
        assert spelt(body, constants, fusion=fusion)[1].changed == 0


def test_a_factor_that_is_no_float32_stays():
    values = {"k": np.array([1e-39, 1, 2, 3], np.float32).reshape(4, 1, 1), "m": np.ones((4, 1, 1), np.float32)}
    text = f"g ({IMAGE}, float[4,1,1] k, float[4,1,1] m) => (float y) {{ a = Div(x, k)  y = Add(a, m) }}"
    model = parse(text, **values)
    assert run(model).changed == 0
    assert ops(model) == ["Div", "Add"]
