"""What constants alone decide is computed and stored."""

import numpy as np
import pytest
from graphs import apply, constant, ops, parse

from amct_lite import runtime
from amct_lite.passes import fold_constants
from amct_lite.passes.fold_constants import run


def test_weight_made_by_a_constant_subgraph_becomes_an_initializer():
    text = """g (float[2,3] x, float[5,3] w, float s) => (float[2,5] y) {
        t = Transpose(w)  m = Mul(t, s)  y = MatMul(x, m)
    }"""
    model = parse(text, "w s")
    after, report = apply(run, model)
    assert (ops(after), report.changed) == (["MatMul"], 2)
    np.testing.assert_array_equal(constant(after, "m"), constant(model, "w").T * constant(model, "s"))


def test_shape_arithmetic_is_folded_through_growing_ops():
    text = """g (float[2,3] x, int64[1] a, int64[1] b) => (float[2,3] y) {
        s = Concat<axis=0>(a, b)  z = ConstantOfShape<value = float[1] {2.0}>(s)  t = Tile(z, r)  y = Add(x, t)
    }""".replace("int64[1] b", "int64[1] b, int64[2] r")
    after, report = apply(run, parse(text, a=np.array([1]), b=np.array([3]), r=np.array([2, 1])))
    assert (ops(after), report.changed) == (["Add"], 3)
    np.testing.assert_array_equal(constant(after, "t"), np.full((2, 3), 2.0))


def test_all_nodes_of_a_round_run_in_one_session(monkeypatch):
    opened, open_session = [], runtime.open_session
    monkeypatch.setattr(runtime, "open_session", lambda *a, **k: opened.append(1) or open_session(*a, **k))
    text = """g (float[2] x, float[2] w) => (float[2] y) {
        a = Neg(w)  b = Exp(w)  c = Add(a, b)  d = Add(x, c)  y = Add(d, b)
    }"""
    run(parse(text, "w"))
    assert opened == [1]


def test_what_identities_hand_on_is_no_copy():
    """PyTorch writes an Identity for each further layer that has a weight."""
    text = """g (float[2,2] x, float[2,2] w) => (float[2,2] y) {
        i = Identity(w)  j = Identity(i)  t = Transpose(w)  u = Identity(t)  v = Identity(t)
        a = MatMul(x, w)  b = MatMul(a, j)  c = MatMul(b, u)  d = MatMul(c, v)  y = Add(d, t)
    }"""
    after, report = apply(run, parse(text, "w"))
    tensors = [after.graph.initializers[name].const_value for name in "wjtuv"]
    assert (ops(after), report.changed) == (["MatMul"] * 4 + ["Add"], 5)
    assert [tensors.index(tensor) for tensor in tensors] == [0, 0, 2, 2, 2]


@pytest.mark.parametrize(
    ("node", "values"),
    [
        ("c = ConstantOfShape(s)", {"s": np.array([1 << 20, 1 << 20])}),
        ("c = Expand(w, s)", {"s": np.array([1 << 30, 1]), "w": np.ones((1, 2), np.float32)}),
        ("c = Tile(w, s)", {"s": np.array([1 << 30, 1]), "w": np.ones((1, 2), np.float32)}),
        ("c = Range(zero, s, one)", {"s": np.float32(1e9), "zero": np.float32(0), "one": np.float32(1)}),
    ],
)
def test_growth_is_refused_before_it_happens(node, values):
    declared = ", ".join(f"{'int64' if v.dtype == np.int64 else 'float'} {name}" for name, v in values.items())
    report = run(parse(f"g (float[2] x, {declared}) => (float y) {{ {node}  y = ReduceSum(c) }}", **values))
    assert (report.changed, "would bloat the model" in report.skips[0].reason) == (0, True)


def test_large_result_of_broadcasting_is_refused(monkeypatch):
    monkeypatch.setattr(fold_constants, "LIMIT", 100)
    text = "g (float[9,9] x, float[9,1] a, float[1,9] b) => (float[9,9] y) { c = Mul(a, b)  y = Add(x, c) }"
    after, report = apply(run, parse(text, "a b"))
    assert (ops(after), "would bloat" in report.skips[0].reason) == (["Mul", "Add"], True)


def test_large_weight_that_does_not_grow_is_folded(monkeypatch):
    monkeypatch.setattr(fold_constants, "LIMIT", 100)
    after, _ = apply(run, parse("g (float[2,9] x, float[8,9] w) => (float[2,8] y) { t = Transpose(w)  y = MatMul(x, t) }", "w"))
    assert ops(after) == ["MatMul"]


@pytest.mark.parametrize(
    "node", ["c = RandomNormalLike(w)", "c = DequantizeLinear(i, s)", "c = Multinomial(w)", "c = custom.op(w)"]
)
def test_node_that_must_stay_is_not_computed(node):
    text = f"g (float[2,2] x, float[2,2] w, int8[2,2] i, float s) => (float[2,2] y) {{ {node}  y = Add(x, c) }}"
    model = parse(text, "w i s")
    report = run(model)
    assert (ops(model)[0], report.changed) == (node.split("= ")[1].split("(")[0].removeprefix("custom."), 0)


def test_value_captured_by_a_body_is_folded_under_its_name():
    text = """g (bool q, float[2] w) => (float[2] y) {
        c = Neg(w)
        y = branches_on(c)
    }"""
    after, _ = apply(run, parse(text, "w"))
    assert ops(after) == ["If"]


def test_if_on_a_constant_is_left_alone():
    text = """g (float[2] x, bool q, float[2] w) => (float[2] y) {
        c = branches_on(w)
        y = Add(x, c)
    }"""
    after, _ = apply(run, parse(text, "w", q=np.array(True)))
    assert ops(after) == ["If", "Add"]


def test_output_of_the_model_keeps_its_node_and_readers_get_the_constant():
    text = "g (float[2] x, float[2] w) => (float[2] c, float[2] y) { c = Neg(w)  y = Add(x, c) }"
    after, _ = apply(run, parse(text, "w"))
    assert ops(after) == ["Neg", "Add"]
    assert after.graph[1].inputs[1].is_initializer()


def test_node_that_ort_cannot_compute_does_not_spoil_the_others():
    text = """g (float[2,3] x, float[5,3] w, float[4] v) => (float[2,5] y, float[2,3] z) {
        t = Transpose(w)  y = MatMul(x, t)  r = Reshape(v, s)  z = Mul(x, r)
    }""".replace("float[4] v", "float[4] v, int64[1] s")
    model = parse(text, "w v", s=np.array([3]))
    report = run(model)
    assert "ONNX Runtime cannot compute it" in report.skips[0].reason
    assert "Transpose" not in ops(model)


def test_node_with_one_output_of_the_model_is_kept_for_that_one():
    text = """g (float[2] x, float[4] w) => (float[2] a, float[2] y) { a, b = Split<axis=0>(w, s)  y = Add(x, b) }"""
    after, _ = apply(run, parse(text.replace("float[4] w", "float[4] w, int64[2] s"), "w", s=np.array([2, 2])))
    assert ops(after) == ["Split", "Add"]
    assert constant(after, "b").shape == (2,)


def test_initializer_that_is_also_an_input_of_the_model_is_not_constant():
    model = parse("g (float[2] x, float[2] w) => (float[2] y) { c = Neg(w)  y = Add(x, c) }", "w")
    model.graph.inputs.append(model.graph.initializers["w"])
    after, report = apply(run, model)
    assert (ops(after), report.changed) == (["Neg", "Add"], 0)
