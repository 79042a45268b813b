"""Attention in one node becomes its products, and computes the same in ONNX Runtime."""

import numpy as np
import pytest
from graphs import apply, assert_agrees, ops, parse

from amct_lite.passes.unfuse import run

CONTRIB = '<ir_version: 8, opset_import: ["": 17, "com.microsoft": 1]>'
ONNX = '<ir_version: 11, opset_import: ["": 24]>'


WEIGHTED = "float[2,5,8] x, float[8,24] w, float[24] b"
MULTI = "float[2,5,8] q, float[2,3,8] k, float[2,3,8] v, float[24] b"
FOUR = "float[2,2,5,4] q, float[2,2,3,4] k, float[2,2,3,6] v"
THREE = "float[2,5,8] q, float[2,3,8] k, float[2,3,12] v"

CONTRIB_CASES = {
    "plain": (WEIGHTED, "y = com.microsoft.Attention<num_heads = 2>(x, w, b)"),
    "scale": (WEIGHTED, "y = com.microsoft.Attention<num_heads = 4, scale = 0.3>(x, w, b)"),
    "keys": (f"{WEIGHTED}, int32[2,5] m", "y = com.microsoft.Attention<num_heads = 2>(x, w, b, m)"),
    "pairs": (f"{WEIGHTED}, int32[2,5,5] m", "y = com.microsoft.Attention<num_heads = 2>(x, w, b, m)"),
    "ends": (f"{WEIGHTED}, int32[2] e", "y = com.microsoft.Attention<num_heads = 2>(x, w, b, e)"),
    "unseen": (f"{WEIGHTED}, int32[2,5] m", "y = com.microsoft.Attention<num_heads = 2, mask_filter_value = -2.0>(x, w, b, m)"),
    "unidirectional": (WEIGHTED, "y = com.microsoft.Attention<num_heads = 2, unidirectional = 1>(x, w, b)"),
    "added": (f"{WEIGHTED}, float[1,2,5,5] a", "y = com.microsoft.Attention<num_heads = 2>(x, w, b, , , a)"),
    "values": (
        *("float[2,5,8] x, float[8,20] w, float[20] b",),
        *("y = com.microsoft.Attention<num_heads = 2, qkv_hidden_sizes = [8, 8, 4]>(x, w, b)",),
    ),
    "multi": (MULTI, "y = com.microsoft.MultiHeadAttention<num_heads = 2>(q, k, v)"),
    "multi_bias": (MULTI, "y = com.microsoft.MultiHeadAttention<num_heads = 2>(q, k, v, b)"),
    "multi_keys": (f"{MULTI}, int32[2,3] m", "y = com.microsoft.MultiHeadAttention<num_heads = 2>(q, k, v, b, m)"),
    "multi_added": (f"{MULTI}, float[2,2,5,3] a", "y = com.microsoft.MultiHeadAttention<num_heads = 2>(q, k, v, b, , a)"),
}
ONNX_CASES = {
    "four": (FOUR, "y = Attention(q, k, v)"),
    "scale": (FOUR, "y = Attention<scale = 0.3>(q, k, v)"),
    "added": (f"{FOUR}, float[5,3] a", "y = Attention(q, k, v, a)"),
    "pairs": (f"{FOUR}, bool[2,1,5,3] s", "y = Attention(q, k, v, s)"),
    "causal": (FOUR, "y = Attention<is_causal = 1>(q, k, v)"),
    "three": (THREE, "y = Attention<q_num_heads = 2, kv_num_heads = 2>(q, k, v)"),
    "three_causal": (THREE, "y = Attention<q_num_heads = 2, kv_num_heads = 2, is_causal = 1>(q, k, v)"),
}
CASES = [(CONTRIB, *case) for case in CONTRIB_CASES.values()] + [(ONNX, *case) for case in ONNX_CASES.values()]
NAMES = [f"contrib_{name}" for name in CONTRIB_CASES] + [f"onnx_{name}" for name in ONNX_CASES]


def model(header, inputs, body):
    return parse(f"g ({inputs}) => (float y) {{ {body} }}", "w b", header=header)


def feeds(before):
    rng, found = np.random.default_rng(3), {}
    for value in before.graph.inputs:
        array = rng.normal(size=value.shape.numpy())
        found[value.name] = (array > 0 if value.name in {"m", "s"} else array).astype(value.dtype.numpy())
    if "s" in found:
        found["s"][0, 0, 1] = False  # a query that sees nothing
    return found | ({"e": np.array([2, 4], np.int32)} if "e" in found else {})


@pytest.mark.parametrize(("header", "inputs", "body"), CASES, ids=NAMES)
def test_each_form_is_put_in_products(header, inputs, body):
    before = model(header, inputs, body)
    after, report = apply(run, before, feeds(before))
    assert report.changed == 1
    assert "Attention" in report.notes[0]
    assert not [node for node in after.graph if node.domain or node.op_type == "Attention"]
    assert ops(after).count("Softmax") == 1


def test_its_layers_are_called_after_it():
    after, _ = apply(run, model(CONTRIB, *CONTRIB_CASES["plain"]))
    assert [node.name for node in after.graph if node.op_type == "MatMul"] == [
        *("Attention_0.matmul", "Attention_0.matmul_1", "Attention_0.matmul_2"),  # of query, key and value
        *("Attention_0.matmul_3", "Attention_0.matmul_4"),
    ]


def test_without_biases_nothing_is_added():
    """ONNX Runtime's CPU kernel cannot run it so."""
    text = f"g ({WEIGHTED}) => (float y) {{ {CONTRIB_CASES['plain'][1]} }}"
    weights = {"w": np.random.default_rng(0).normal(size=(8, 24)).astype(np.float32), "b": np.zeros(24, np.float32)}
    after = parse(text.replace(", b)", ")"), header=CONTRIB, **weights)
    assert run(after).changed == 1
    assert "Add" not in ops(after)
    assert_agrees(parse(text, header=CONTRIB, **weights), after)


def test_a_mask_that_hides_nothing_goes():
    text = f"g ({FOUR}, bool[5,3] s) => (float y) {{ y = Attention(q, k, v, s) }}"
    after, _ = apply(run, parse(text, header=ONNX, s=np.ones((5, 3), bool)))
    assert ops(after) == ["Transpose", "MatMul", "Mul", "Softmax", "MatMul"]


def test_keys_are_turned_once():
    text = FOUR.replace("[2,2,3,4] k", "[2,3,2,4] r")
    before = parse(f"g ({text}) => (float y) {{ k = Transpose<perm = [0, 2, 1, 3]>(r)  y = Attention(q, k, v) }}", header=ONNX)
    after, _ = apply(run, before)
    turned = [node.attributes["perm"].value for node in after.graph if node.op_type == "Transpose"]
    assert list(turned[-1]) == [0, 2, 3, 1]
    assert after.graph[0].outputs[0].uses() == ()  # the first is not needed any more


def test_what_is_behind_an_attention_is_known_in_a_second_round():
    call = "com.microsoft.MultiHeadAttention<num_heads = 2>"
    before = model(CONTRIB, "float[2,5,8] x", f"h = {call}(x, x, x)  g = Neg(h)  y = {call}(g, h, h)")
    assert apply(run, before)[1].changed == 2


REFUSED = {
    "past": (
        CONTRIB,
        f"{MULTI}, float[2,2,4,4] p",
        "com.microsoft.MultiHeadAttention<num_heads = 2>(q, k, v, b, , , p, p)",
        "earlier",
    ),
    "rotary": (CONTRIB, WEIGHTED, "com.microsoft.Attention<num_heads = 2, do_rotary = 1>(x, w, b)", "by their positions"),
    "weights": (CONTRIB, WEIGHTED.replace(" w", " u"), "com.microsoft.Attention<num_heads = 2>(x, u, b)", "are computed"),
    "mask": (CONTRIB, f"{WEIGHTED}, int32[4] e", "com.microsoft.Attention<num_heads = 2>(x, w, b, e)", "where they end"),
    "sizes": (
        CONTRIB,
        MULTI.replace("3,8] v", "3,4] v").replace("24", "20"),
        "com.microsoft.MultiHeadAttention<num_heads = 2>(q, k, v, b)",
        "heads",
    ),
    "packed": (CONTRIB, "float[2,5,2,3,4] x", "com.microsoft.MultiHeadAttention<num_heads = 2>(x)", "batches, positions"),
    "softcap": (ONNX, FOUR, "Attention<softcap = 2.0>(q, k, v)", "limits its scores"),
    "precision": (ONNX, FOUR, "Attention<softmax_precision = 1>(q, k, v)", "another precision"),
    "groups": (ONNX, FOUR.replace("2,2,5,4", "2,4,5,4"), "Attention(q, k, v)", "as many heads"),
    "unknown": (ONNX, "float q, float k, float v", "Attention(q, k, v)", "are not known"),
    "short": (ONNX, f"{FOUR}, float[5,2] a", "Attention(q, k, v, a)", "as many keys"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_more_stays_with_the_reason(case):
    header, inputs, call, reason = REFUSED[case]
    before = model(header, inputs, f"y = {call}")
    count = len(before.graph)
    report = run(before)
    assert report.changed == 0
    assert reason in report.skips[0].reason
    assert len(before.graph) == count


def test_scores_that_are_read_keep_it():
    before = parse(f"g ({FOUR}) => (float y, float s) {{ y, , , s = Attention(q, k, v) }}", header=ONNX)
    assert "are read, too" in run(before).skips[0].reason
