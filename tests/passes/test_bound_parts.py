"""A Relu or Clip behind a Concat stands in front of it, if all of it is there for that alone."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import apply, ops, parse

from amct_lite.passes.bound_parts import run

BEFORE = """g (float[1,2,3,3] x, float low, float high) => (float[1,4,3,3] y) {
  [left] a = Sin (x) [right] b = Cos (x) [join] c = Concat <axis=1> (a, b) [bound] d = BOUND [end] y = Neg (d) }"""

NUMBERS = {"low": np.float32(-0.5), "high": np.float32(0.25)}


@pytest.mark.parametrize("bound", ["Relu (c)", "Clip (c, low)", "Clip (c, low, high)", "Clip (c, , high)"])
def test_every_part_is_bounded(bound):
    after, report = apply(run, parse(BEFORE.replace("BOUND", bound), "", **NUMBERS))
    assert report.changed == 1
    assert ops(after) == ["Sin", "Cos", bound.split()[0], bound.split()[0], "Concat", "Neg"]
    assert {value.name for node in after.graph for value in node.outputs} >= {"a", "b", "d", "y"}


@pytest.mark.parametrize("bound", ["Relu (c)", "Clip (c, low, high)"])
def test_what_is_turned_is_bounded_before(bound):
    text = f"g (float[2,3,4] x, float low, float high) => (float y) {{ a = Sin (x) c = Transpose (a) d = {bound} y = Neg (d) }}"
    after, report = apply(run, parse(text, "", **NUMBERS))
    assert (ops(after), report.changed) == (["Sin", bound.split()[0], "Transpose", "Neg"], 1)


def test_the_output_of_the_model_keeps_its_name():
    text = BEFORE.replace("=> (float[1,4,3,3] y)", "=> (float[1,4,3,3] d)").replace("[end] y = Neg (d)", "")
    after, report = apply(run, parse(text.replace("BOUND", "Relu (c)"), "", **NUMBERS))
    assert (report.changed, [value.name for value in after.graph.outputs]) == (1, ["d"])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("[end] y = Neg (d)", "[also] e = Add (c, d) [end] y = Neg (e)"),
        ("[end] y = Neg (d)", "[also] e = Concat <axis=1> (a, b) [more] f = Add (d, e) [end] y = Neg (f)"),
        ("Concat <axis=1> (a, b)", "Concat <axis=1> (a, x)"),
        ("(a, b)", "(a, a)"),
        ("=> (float[1,4,3,3] y)", "=> (float[1,4,3,3] y, float[1,4,3,3] c)"),
        ("=> (float[1,4,3,3] y)", "=> (float[1,4,3,3] y, float[1,2,3,3] a)"),
        ("Concat <axis=1> (a, b)", "Add (a, b)"),
    ],
    ids=["all seen", "parts seen", "an input", "a part twice", "an output", "a part as output", "no Concat"],
)
def test_what_is_seen_elsewhere_stays(old, new):
    text = BEFORE.replace("BOUND", "Relu (c)").replace(old, new).replace("[1,4,3,3] y", "[1,C,3,3] y")
    assert apply(run, parse(text, "", **NUMBERS))[1].changed == 0


def test_a_bound_that_is_computed_stays():
    text = BEFORE.replace("BOUND", "Clip (c, m)").replace("[join]", "[least] m = ReduceMin <keepdims=0> (x) [join]")
    assert apply(run, parse(text, "", **NUMBERS))[1].changed == 0
