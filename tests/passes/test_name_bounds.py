"""Max and Min with a number are a Relu or Clip; the numbers stay."""

import numpy as np
import pytest
from graphs import apply, ops, parse

from amct_lite import ir
from amct_lite.passes import infer_shapes
from amct_lite.passes.name_bounds import run

NUMBERS = {
    "zero": np.float32(0),
    "six": np.array([6], np.float32),
    "low": np.float32(-0.5),
    "deep": np.ones((1, 1, 1), np.float32),
}


def named(body, results="float y", kind="float"):
    declared = "".join(f", float[{','.join(map(str, array.shape))}] {name}" for name, array in NUMBERS.items())
    declared = declared.replace("float[] ", "float ")
    model = parse(f"g ({kind}[2,3] x, float[3] v{declared}) => ({results}) {{ {body} }}", "v", **NUMBERS)
    infer_shapes.run(model)
    return apply(run, model)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("y = Max(x, zero)", ["Relu"]),
        ("y = Max(zero, x)", ["Relu"]),
        ("y = Max(x, low)", ["Clip"]),
        ("y = Min(x, six)", ["Clip"]),
        ("a = Max(x, zero)  y = Min(a, six)", ["Clip"]),
        ("a = Min(six, x)  y = Max(a, low)", ["Clip"]),
        ("a = Max(x, six)  y = Min(a, low)", ["Clip", "Clip"]),
        ("a = Max(x, zero)  b = Min(a, six)  y = Add(a, b)", ["Relu", "Clip", "Add"]),
        ("a = Max(x, low)  y = Max(a, zero)", ["Clip", "Relu"]),
    ],
)
def test_bounds_are_named(body, expected):
    after, report = named(body)
    assert ops(after) == expected
    assert report.changed == body.count("Max") + body.count("Min")


def test_one_of_both_has_the_name_of_the_last():
    after, _ = named("[first] a = Max(x, low)  [last] y = Min(a, six)")
    (clip,) = after.graph
    assert clip.name == "last"
    assert [ir.constant_of(value).tolist() for value in clip.inputs[1:]] == [-0.5, 6.0]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("y = Max(x, v)", "float"),
        ("y = Max(x, zero, six)", "float"),
        ("y = Max(x, deep)", "float"),
        ("a = Neg(x)  y = Max(x, a)", "float"),
        ("a = Cast<to = 11>(x)  z = Cast<to = 11>(zero)  b = Max(a, z)  y = Cast<to = 1>(b)", "float"),
    ],
    ids=["a_vector", "three", "an_axis_more", "no_number", "double"],
)
def test_anything_else_stays(body, kind):
    after, report = named(body, kind=kind)
    assert report.changed == 0
    assert not {"Relu", "Clip"} & set(ops(after))
