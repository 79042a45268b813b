"""Nodes that hand on their input go away, where that is certain."""

import numpy as np
import pytest
from graphs import apply, ops, parse

from amct_lite import ir
from amct_lite.passes.remove_identity import run


@pytest.mark.parametrize(
    "node",
    [
        "i = Identity(r)",
        "i = Dropout(r)",
        "i = Dropout(r, ratio, training)",
        "i = Transpose<perm=[0,1]>(r)",
        "i = Pad(r, pads)",
        "i = Concat<axis=0>(r)",
        "i = Sum(r)",
        "i = Max(r)",
        "i = Min(r)",
        "i = Mean(r)",
    ],
)
def test_node_that_does_nothing_is_removed(node):
    text = f"""g (float[2,3] x, float ratio, bool training, int64[4] pads) => (float[2,3] y) {{
        r = Relu(x)  {node}  y = Neg(i)
    }}"""
    zeros = {"ratio": np.float32(0.5), "training": np.array(False), "pads": np.zeros(4, np.int64)}
    after, report = apply(run, parse(text, **zeros))
    assert (ops(after), report.changed) == (["Relu", "Neg"], 1)


def test_cast_to_the_type_the_input_has_is_removed_and_another_stays():
    text = "g (float[2] x) => (int32[2] y) { a = Cast<to=1>(x)  y = Cast<to=6>(a) }"
    after, _ = apply(run, parse(text))
    assert ops(after) == ["Cast"]


@pytest.mark.parametrize(
    "node",
    [
        "i = Transpose<perm=[1,0]>(r)",
        'i = Pad<mode="constant">(r, one)',
        "i = Concat<axis=0>(r, r)",
        "i = Transpose(r)",
    ],
)
def test_node_that_does_something_stays(node):
    text = f"g (float[3,3] x, int64[4] one) => (float y) {{ r = Relu(x)  {node}  y = Neg(i) }}"
    _, report = apply(run, parse(text, one=np.ones(4, np.int64)))
    assert report.changed == 0


@pytest.mark.parametrize(("sizes", "left"), [((1, 2, 3), ["Relu", "Neg"]), ((4, 2, 3), ["Relu", "Expand", "Neg"])])
def test_an_expand_goes_where_nothing_is_repeated(sizes, left):
    text = "g (float[1,2,3] x, int64[3] s) => (float[n,2,3] y) { r = Relu(x)  i = Expand(r, s)  y = Neg(i) }"
    model = parse(text, s=np.array(sizes))
    ir.infer_shapes(model)
    after, _ = apply(run, model)
    assert ops(after) == left


def test_dropout_whose_mask_is_read_stays():
    text = "g (float[2] x) => (float[2] y, bool[2] m) { y, m = Dropout(x) }"
    _, report = apply(run, parse(text))
    assert report.changed == 0


def test_output_of_the_model_keeps_its_name():
    after, report = apply(run, parse("g (float[2] x) => (float[2] y) { r = Relu(x)  y = Identity(r) }"))
    assert (ops(after), report.changed) == (["Relu"], 1)


def test_identity_between_input_and_output_stays():
    after, _ = apply(run, parse("g (float[2] x) => (float[2] y) { y = Identity(x) }"))
    assert ops(after) == ["Identity"]


def test_identity_between_two_outputs_stays():
    after, _ = apply(run, parse("g (float[2] x) => (float[2] r, float[2] y) { r = Relu(x)  y = Identity(r) }"))
    assert ops(after) == ["Relu", "Identity"]


def test_constant_that_is_an_output_keeps_its_identity():
    after, _ = apply(run, parse("g (float[2] w) => (float[2] y) { y = Identity(w) }", "w"))
    assert ops(after) == ["Identity"]


def test_value_captured_by_a_body_is_moved_there_too():
    text = """g (float[2] x, bool q) => (float[2] y) {
        r = Exp(x)
        c = Identity(r)
        y = branches_on(c)
    }"""
    after, report = apply(run, parse(text))
    assert (ops(after), report.changed) == (["Exp", "If"], 1)


@pytest.mark.parametrize(("dilations", "kept"), [("1,1", False), ("1,2", True)])
def test_dilations_of_one_are_removed_from_a_mean(dilations, kept):
    text = f"""<ir_version: 9, opset_import: ["": 19]>
        g (float[1,2,8,8] x) => (float y) {{ y = AveragePool<kernel_shape=[2,2], dilations=[{dilations}]>(x) }}"""
    after, report = apply(run, parse(text, header=""))
    assert ("dilations" in after.graph[0].attributes, report.changed) == (kept, int(not kept))
