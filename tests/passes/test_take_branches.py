"""An If of known condition is replaced by the branch that it takes."""

import numpy as np
import pytest
from graphs import apply, assert_agrees, ops, parse

from amct_lite import ir, passes
from amct_lite.passes.take_branches import run
from amct_lite.validate.static_shape import fix_shapes

THEN = "t () => (float[2,3] a) {{ n = Neg(x)  a = Relu({}) }}"
IF = f"If (c) <then_branch = {THEN}, else_branch = e () => (float[2,3] b) {{{{ b = Abs(x) }}}}>"
TAKEN = {True: ["Neg", "Relu"], False: ["Abs"]}


def known(condition: bool) -> dict[str, np.ndarray]:
    return {"c": np.array(condition)}


@pytest.mark.parametrize("condition", [True, False])
def test_the_branch_that_is_taken_stands_in_the_graph(condition):
    text = f"g (float[2,3] x, bool c) => (float[2,3] y) {{ h = {IF.format('n')}  y = Sqrt(h) }}"
    after, report = apply(run, parse(text, **known(condition)))
    assert ops(after) == [*TAKEN[condition], "Identity", "Sqrt"]
    assert report.changed == 1
    assert "1 If of known condition" in report.notes[0]


def test_it_may_give_an_output_of_the_model():
    after, _ = apply(run, parse(f"g (float[2,3] x, bool c) => (float[2,3] y) {{ y = {IF.format('n')} }}", **known(True)))
    assert [value.name for value in after.graph.outputs] == ["y"]


def test_names_stay_apart():
    text = f"g (float[2,3] x, bool c) => (float[2,3] y) {{ h = {IF.format('n')}  k = {IF.format('x')}  y = Add(h, k) }}"
    after, report = apply(run, parse(text, **known(True)))
    assert report.changed == 2
    names = [value.name for node in after.graph for value in node.outputs]
    assert len(names) == len(set(names))


def test_constants_of_the_branch_are_the_models():
    branch = "t () => (float[2,3] a) <float w = {2.0}> { a = Mul(x, w) }"
    text = f"g (float[2,3] x, bool c) => (float[2,3] y) {{ y = If (c) <then_branch = {branch}, else_branch = {branch}> }}"
    after, _ = apply(run, parse(text, **known(True)))
    assert "If_0.w" in after.graph.initializers


def test_an_if_within_is_decided_in_its_turn():
    inner = "If (d) <then_branch = u () => (float[2,3] p) { p = Neg(x) }, else_branch = v () => (float[2,3] q) { q = Abs(x) }>"
    outer = f"t () => (float[2,3] a) {{ d = Not(c)  a = {inner} }}"
    text = f"g (float[2,3] x, bool c) => (float[2,3] y) {{ y = If (c) <then_branch = {outer}, else_branch = {outer}> }}"
    after, report = apply(run, parse(text, **known(True)))
    assert (ops(after), report.changed) == (["Abs", "Identity", "Identity"], 2)


def test_an_unknown_condition_stays():
    model = parse(f"g (float[2,3] x, bool c) => (float[2,3] y) {{ y = {IF.format('n')} }}")
    assert run(model).changed == 0
    assert ops(model) == ["If"]


SQUEEZE = """g (float[N,C,3] x, int64 i, int64 o, int64[1] ax) => (float y) {
    s = Shape(x)  k = Gather(s, i)  one = Equal(k, o)
    y = If (one) <then_branch = t () => (float[p,q] a) { a = Squeeze(x, ax) },
                  else_branch = e () => (float[l,m,n] b) { b = Identity(x) }>
}"""
SIZES = {"i": np.array(1), "o": np.array(1), "ax": np.array([1])}


def test_a_size_that_is_known_when_the_model_is_deployed_decides_then():
    """As PyTorch's older exporter writes a squeeze: the deploy model had no shape behind it."""
    given = parse(SQUEEZE, **SIZES)
    given.graph.outputs[0].shape = None
    model = passes.prepare(given).model
    assert "If" in ops(model)
    assert ops(fix_shapes(model, {"x": (2, 1, 3)})) == ["Squeeze", "Identity"]
    assert ir.dims_of(fix_shapes(model, {"x": (2, 4, 3)}).graph.outputs[0]) == (2, 4, 3)


def test_results_that_are_left_out_stay_without_name():
    then = 't () => (float[1,1,2] a) { "", a, "" = LSTM<hidden_size = 2>(x, w, r) }'
    other = "e () => (float[1,1,2] b) { b = ReduceMax(w) }"
    text = "g (float[5,1,3] x, float[1,8,3] w, float[1,8,2] r, bool c) => (float[1,1,2] y)"
    before = parse(f"{text} {{ y = If (c) <then_branch = {then}, else_branch = {other}> }}", "w r", **known(True))
    after, _ = apply(run, before)
    assert ops(after) == ["LSTM", "Identity"]
    assert [value.name for value in after.graph[0].outputs] == ["", "If_0.a", ""]
    assert_agrees(before, after)
