"""A float16 model becomes float32 inside; inputs and outputs keep names and types."""

import numpy as np
import onnxruntime
import pytest
from corpus import SHARED, needs_shared
from graphs import apply, feeds_for, ops, outputs_of, parse

from amct_lite import ir
from amct_lite.errors import UnsupportedModelError
from amct_lite.passes.widen_float16 import run

# float16 carries 11 bits: each result on the way is off by up to 2^-11 = 5e-4 in the original; a few in a row.
HALF = 2e-3


def widened(model, feeds=None):
    after = ir.clone(model)
    report = run(after)
    feeds = feeds_for(model) if feeds is None else feeds
    for expected, got in zip(outputs_of(model, feeds), outputs_of(after, feeds), strict=True):
        assert expected.dtype == got.dtype
        largest = np.abs(expected.astype(np.float64)).max()
        np.testing.assert_allclose(got.astype(np.float64), expected.astype(np.float64), atol=HALF * largest)
    once = ir.to_bytes(after)
    assert run(after).changed == 0
    assert ir.to_bytes(after) == once
    return after, report


def test_float32_model_is_left_alone():
    _, report = apply(run, parse("g (float[2] x, float[2] w) => (float[2] y) { y = Add(x, w) }", "w"))
    assert report.changed == 0


def test_inputs_and_outputs_get_casts_and_all_between_is_float32():
    text = "g (float16[2,3] x, float16[3,4] w) => (float16[2,4] y) { m = MatMul(x, w)  y = Relu(m) }"
    after, _ = widened(parse(text, "w"))
    assert ops(after) == ["Cast", "MatMul", "Relu", "Cast"]
    assert after.graph.initializers["w"].dtype == ir.DataType.FLOAT
    assert after.graph.node(1).outputs[0].dtype == ir.DataType.FLOAT


def test_casts_and_dtype_attributes_are_rewritten():
    text = """g (float[2] x) => (float[2] y) {
        h = Cast<to=10>(x)
        k = Constant<value = float16[2] {15360, 16384}>()
        e = ConstantOfShape<value = float16[1] {16896}>(s)
        a = Add(h, k)
        b = Add(a, e)
        y = Cast<to=1>(b)
    }""".replace("float[2] x", "float[2] x, int64[1] s")
    after, _ = widened(parse(text, s=np.array([2])))
    assert not [node for node in after.graph if ir.attribute(node, "to", 0) == ir.DataType.FLOAT16]
    assert after.graph.node(3).outputs[0].dtype == ir.DataType.FLOAT


def test_intermediate_output_is_still_read_in_float32():
    text = "g (float16[2] x) => (float16[2] a, float16[2] y) { a = Exp(x)  y = Neg(a) }"
    after, _ = widened(parse(text))
    assert sorted(ops(after)) == ["Cast", "Cast", "Cast", "Exp", "Neg"]


def test_body_reads_what_it_captured_as_float16():
    text = """g (float16[2] x, bool q, float16[2] w) => (float16[2] y, float16[2] z) {
        r = Exp(x)
        v = Add(r, w)
        y = If(q) <then_branch = t () => (float16[2] a) { a = Add(r, w) },
                   else_branch = e () => (float16[2] b) { b = Mul(x, r) }>
        z = Add(y, v)
    }"""
    for flag in (True, False):
        model = parse(text, "w")
        after, _ = widened(model, feeds_for(model) | {"q": np.array(flag)})
    assert after.graph.initializers["w"].dtype == ir.DataType.FLOAT16  # the body captured it
    assert ops(after).count("Cast") == 4  # x in, r for the body, the If's result for z, z out


def test_function_call_keeps_float16():
    text = """g (float16[2] x, float16[2] w) => (float16[2] y) { r = Exp(x)  f = custom.half(r, w)  y = Neg(f) }
    <domain: "custom", opset_import: ["": 17]> half (a, b) => (c) { d = Cast<to=10>(a)  c = Add(d, b) }"""
    after, _ = widened(parse(text, "w"))
    assert ops(after) == ["Cast", "Exp", "Cast", "half", "Cast", "Neg", "Cast"]


def test_initializer_that_is_also_an_input_stays_one():
    model = parse("g (float16[2] x, float16[2] w) => (float16[2] y) { y = Add(x, w) }", "w")
    model.graph.inputs.append(model.graph.initializers["w"])
    after, _ = widened(model)
    assert ops(after).count("Cast") == 3


def test_unknown_type_at_a_custom_op_is_an_error():
    text = "g (float16[2] x) => (float16[2] y) { a = custom.op(x)  b = custom.op(a)  y = Neg(b) }"
    with pytest.raises(UnsupportedModelError, match=r"type of 'a' at node .*custom\.op.*export the model in float32"):
        run(parse(text))


def test_type_of_what_a_custom_op_gives_may_be_its_readers():
    model = parse("g (float16[2] x) => (float16[2] y) { a = custom.op(x)  y = Neg(a) }")
    run(model)
    assert ops(model) == ["op", "Cast", "Neg", "Cast"]


@needs_shared
def test_float16_squeezenet_agrees_with_the_original():
    path = SHARED / "corpus/structure/squeezenet11_fp16_op7.onnx"
    model = ir.load(path).model
    after = ir.clone(model)
    run(after)
    feeds = feeds_for(model)
    original = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, feeds)
    (expected,), (got,) = original, outputs_of(after, feeds)
    assert got.dtype == np.float16
    # 26 convolutions in a row, each rounded to 2^-11 in the original, then a softmax: probabilities within 1e-2.
    np.testing.assert_allclose(got.astype(np.float32), expected.astype(np.float32), atol=1e-2)
