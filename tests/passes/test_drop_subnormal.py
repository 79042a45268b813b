"""Weights that are too small to be normal numbers become 0, and nothing else does."""

import numpy as np
from graphs import apply, constant, ops, parse

from amct_lite import ir
from amct_lite.passes.drop_subnormal import run

SMALL = np.array([[1e-39, -1e-40], [1.3e-38, 2]], np.float32)


def test_weights_below_the_smallest_normal_number_become_zero():
    model = parse("g (float[2,2] x, float[2,2] w) => (float[2,2] y) { y = MatMul(x, w) }", w=SMALL)
    after, report = apply(run, model)
    np.testing.assert_array_equal(constant(after, "w"), [[0, 0], [np.float32(1.3e-38), 2]])
    assert (ops(after), report.changed, len(report.notes)) == (["MatMul"], 1, 1)
    assert report.notes[0].startswith("2 weights below 1.2e-38")
    np.testing.assert_array_equal(constant(model, "w"), SMALL)


def test_a_number_that_others_compute_with_stays():
    """It may be there for not being 0."""
    text = "g (float[2,2] x, float[2,2] w) => (float[2,2] y) { m = Max(x, w)  y = Log(m) }"
    after, report = apply(run, parse(text, w=SMALL))
    np.testing.assert_array_equal(constant(after, "w"), SMALL)
    assert (report.changed, report.notes) == (0, ())


def test_values_of_one_tensor_keep_one():
    model = parse(
        "g (float[2,2] x, float[2,2] w, float[2,2] v) => (float[2,2] y) { h = MatMul(x, w)  y = MatMul(h, v) }", "v", w=SMALL
    )
    w, v = (model.graph.initializers[name] for name in "wv")
    v.const_value = w.const_value
    report = run(model)
    assert (report.changed, w.const_value is v.const_value) == (1, True)
    assert ir.constant_of(v)[0, 0] == 0
