"""A bias behind a Reshape that splits columns is added in front of it; the numbers stay to the bit."""

import numpy as np
import pytest
from graphs import apply, ops, parse

from amct_lite import ir
from amct_lite.passes import infer_shapes
from amct_lite.passes.add_before_reshape import run


def swapped(bias, shape="[0, 0, 4, 3]", tail="y = Relu(a)", results="float y", body="p = MatMul(x, w)"):
    text = f"""g (float[N,5,6] x, float[6,12] w, float[{bias}] b, int64[4] s) => ({results})
      {{ {body}  r = Reshape(p, s)  a = Add(r, b)  {tail} }}"""
    model = parse(text, "w b", s=np.array([int(size) for size in shape.strip("[]").split(",")]))
    infer_shapes.run(model)
    return apply(run, model)


@pytest.mark.parametrize("bias", ["4,3", "1,1,4,3", "3", "4,1", "1"])
def test_it_is_added_in_front(bias):
    after, report = swapped(bias)
    assert (ops(after), report.changed) == (["MatMul", "Add", "Reshape", "Relu"], 1)
    assert ir.constant_of(after.graph[1].inputs[1]).shape == (12,)


def test_either_way_round_and_under_its_layers_name():
    text = "g (float[5,6] x, float[6,12] w, float[4,3] b, int64[3] s) => (float y)"
    body = "[product] p = MatMul(x, w)  r = Reshape(p, s)  a = Add(b, r)  y = Neg(a)"
    model = parse(f"{text} {{ {body} }}", "w b", s=np.array([5, 4, 3]))
    infer_shapes.run(model)
    after, _ = apply(run, model)
    assert [node.name for node in after.graph][:2] == ["product", "product.add"]


@pytest.mark.parametrize(
    "given",
    [
        {"bias": "5,4,3"},  # differs by row
        {"bias": "1,5,1,1"},
        {"bias": "3", "shape": "[0, 4, 5, 3]"},  # splits other axes
        {"bias": "1,1,1,4,3"},  # adds an axis
        {"bias": "4,3", "tail": "y = Add(r, a)"},  # read before it is added
        {"bias": "4,3", "tail": "y = Relu(a)", "results": "float y, float a"},
        {"bias": "4,3", "body": "q = MatMul(x, w)  p = Neg(q)"},
    ],
)
def test_anything_else_stays(given):
    after, report = swapped(**given)
    assert report.changed == 0
    assert ops(after).index("Reshape") < ops(after).index("Add")


def test_sizes_that_are_not_known_tell_nothing():
    text = "g (float[5,6] x, float[6,12] w, float[4,3] b, int64[3] s) => (float y)"
    body = "p = MatMul(x, w)  r = Reshape(p, s)  a = Add(r, b)  y = Neg(a)"
    assert run(parse(f"{text} {{ {body} }}", "w b")).changed == 0
