"""Normalizations in one node with what is in front become operators of ONNX, and compute the same in ONNX Runtime."""

import numpy as np
import pytest
from graphs import apply, ops, parse

from amct_lite.passes.unfuse import run

OPSETS = [14, 17, 18]
ROWS = "float[2,3,4] x, float[2,3,4] s, float[4] w, float[4] b, float[4] c"
ROOT = ["Pow", "ReduceMean", "Add", "Sqrt", "Div", "Mul"]
BY_HAND = ["ReduceMean", "Sub", *ROOT]
TEXTS = "int32[2,3] i, float[2,4] t, float[5,4] p, float[2,4] g, float[4] w, float[4] b"

NORMS = {
    "skip": ("com.microsoft.SkipLayerNormalization(x, s, w)", ["Add"], BY_HAND),
    "skip_all": ("com.microsoft.SkipLayerNormalization<epsilon = 0.1>(x, s, w, b, c)", ["Add", "Add"], [*BY_HAND, "Add"]),
    "skip_rms": ("com.microsoft.SkipSimplifiedLayerNormalization<epsilon = 0.1>(x, s, w, c)", ["Add", "Add"], None),
    "rms": ("SimplifiedLayerNormalization<epsilon = 0.1>(x, w)", [], None),
    "default": ("SimplifiedLayerNormalization<axis = 2>(x, w)", [], None),
}


def header(opset):
    return f'<ir_version: 8, opset_import: ["": {opset}, "com.microsoft": 1]>'


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("case", NORMS)
def test_each_norm_is_put_in_words_of_onnx(case, opset):
    call, front, by_hand = NORMS[case]
    after, report = apply(run, parse(f"g ({ROWS}) => (float y) {{ y = {call} }}", "w b c", header=header(opset)))
    norm = ROOT if by_hand is None else by_hand if opset < 17 else ["LayerNormalization"]
    assert ops(after) == [*front, *norm]
    assert report.changed == 1


def test_an_older_opset_has_its_layer_normalization_by_hand():
    text = f"g ({ROWS}) => (float y) {{ y = LayerNormalization<epsilon = 0.1>(x, w, b) }}"
    after, _ = apply(run, parse(text, "w b", header=header(14)))
    assert ops(after) == [*BY_HAND, "Add"]
    same, report = apply(run, parse(text, "w b", header=header(17)))
    assert (ops(same), report.changed) == (["LayerNormalization"], 0)


def test_the_sum_is_read_on():
    call = "y, , , t = com.microsoft.SkipSimplifiedLayerNormalization(x, s, w)  z = Neg(t)"
    after, _ = apply(run, parse(f"g ({ROWS}) => (float y, float z) {{ {call} }}", "w", header=header(17)))
    assert ops(after) == ["Add", *ROOT, "Neg"]


@pytest.mark.parametrize("product", ["x", "s"])
def test_a_bias_is_added_to_the_product_that_it_belongs_to(product):
    """So that it is the bias of that layer."""
    text = f"g ({ROWS}, float[4,4] m) => (float y) {{ p = MatMul({product}, m)  "
    rest = {"x": "p, s", "s": "x, p"}[product]
    call = f"y = com.microsoft.SkipLayerNormalization({rest}, w, b, c) }}"
    after, _ = apply(run, parse(text + call, "w b c m", header=header(17)))
    first = next(node for node in after.graph if node.op_type == "Add")
    assert [value.name for value in first.inputs] == ["p", "c"]


EMBEDDINGS = {
    "all": ("<epsilon = 0.1>(i, i, t, p, g, w, b)", "float y", 3),
    "no_segments": ("(i, , t, p, , w, b)", "float y", 2),
    "places": ("(i, , t, p, , w, b, , i)", "float y", 2),
    "counts": ("(i, , t, p, , w, b, i)", "float y, int32[2] n", 2),
}


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("case", EMBEDDINGS)
def test_tables_are_gathered_from(case, opset):
    given, results, tables = EMBEDDINGS[case]
    text = f"g ({TEXTS}) => ({results}) {{ y, n = com.microsoft.EmbedLayerNormalization{given} }}"
    after, _ = apply(run, parse(text, "t p g w b", header=header(opset)), {"i": np.array([[1, 1, 0], [1, 0, 0]], np.int32)})
    read = [node.inputs[0].name for node in after.graph if node.op_type == "Gather"]
    assert [name for name in read if name in {"t", "p", "g"}] == ["t", "p", "g"][:tables]


REFUSED = {
    "deviation": ("y, z = com.microsoft.SkipLayerNormalization(x, s, w, b)", "mean or deviation"),
    "output": ("y, , , z = com.microsoft.SkipSimplifiedLayerNormalization(x, s, w)", "its sum is an output"),
    "axis": ("y = SimplifiedLayerNormalization<axis = 1>(x, w)  z = Neg(x)", "last axis alone"),
    "alone": ("y, z = LayerNormalization(x, w, b)", "mean or deviation"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_gives_more_stays_with_the_reason(case):
    call, reason = REFUSED[case]
    before = parse(f"g ({ROWS}) => (float y, float z) {{ {call} }}", "w b", header=header(14))
    count = len(before.graph)
    report = run(before)
    assert report.changed == 0
    assert reason in report.skips[0].reason
    assert len(before.graph) == count


@pytest.mark.parametrize(("call", "reason"), [("y, n", "no mask tells"), ("y, m, n", "its sum is read")])
def test_an_embedding_that_gives_more_stays(call, reason):
    text = f"g ({TEXTS}) => (float y, n) {{ {call} = com.microsoft.EmbedLayerNormalization(i, , t, p, , w, b) }}"
    report = run(parse(text.replace("y, n)", "y, float n)"), "t p w b", header=header(17)))
    assert reason in report.skips[0].reason
