"""Shapes in a file that contradict its inputs are forgotten, with a note; others stay."""

import pytest
from graphs import apply, parse

from amct_lite import ir
from amct_lite.passes.forget_wrong_shapes import run

TEXT = """g (float[N,2,3] x) => (float[N,3,2] y) <STATED>
  { a = Relu(x)  b = Transpose<perm = [0, 2, 1]>(a)  c = own.op(b)  y = Neg(b) }"""
HEADER = '<ir_version: 8, opset_import: ["": 17, "own": 1]>'


def shapes(stated):
    model = parse(TEXT.replace("STATED", stated).replace("c = own.op(b)  ", ""), header=HEADER)
    after, report = apply(run, model)
    return {value.name: ir.dims_of(value) for node in after.graph for value in node.outputs}, report


@pytest.mark.parametrize(
    "stated", ["float[N,3,2] a, float[N,3,2] b", "float[N,2,3] a, float[N,2,4] b", "float[2,3] a, float[N,3,2] b"]
)
def test_one_that_is_wrong_takes_all_with_it(stated):
    found, report = shapes(stated)
    assert found == {"a": None, "b": None, "y": ("N", 3, 2)}
    assert report.changed == 2
    assert "are wrong (" in report.notes[0]


@pytest.mark.parametrize("stated", ["float[N,2,3] a, float[N,3,2] b", "float[4,2,3] a", "float[M,2,K] a"])
def test_those_that_may_be_right_stay(stated):
    found, report = shapes(stated)
    assert found["a"] is not None
    assert (report.changed, report.notes) == (0, ())


def test_of_what_nobody_knows_a_wrong_neighbour_tells():
    model = parse(TEXT.replace("STATED", "float[N,9,9] a, float[7] c"), header=HEADER)
    assert run(model).changed == 2
    assert ir.dims_of(model.graph[2].outputs[0]) is None
