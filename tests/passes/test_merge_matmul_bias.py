"""MatMul by a constant and the Add of its bias get one canonical form."""

import pytest
from graphs import apply, ops, parse

from amct_lite import ir
from amct_lite.passes import infer_shapes
from amct_lite.passes.merge_matmul_bias import run


def dense(body: str, bias: str, shape: str = "2,7,3") -> str:
    return f"g (float[{shape}] x, float[3,5] w, float[{bias}] b) => (float y) {{ m = MatMul(x, w)  {body} }}"


@pytest.mark.parametrize(("body", "bias"), [("y = Add(b, m)", "5"), ("y = Add(m, b)", "1,5"), ("y = Add(b, m)", "1,1,5")])
def test_bias_becomes_a_vector_and_the_second_operand(body, bias):
    model = parse(dense(body, bias), "w b")
    infer_shapes.run(model)
    after, report = apply(run, model)
    add = after.graph[1]
    assert (ops(after), report.changed) == (["MatMul", "Add"], 1)
    assert add.inputs[0] is after.graph[0].outputs[0]
    assert ir.constant_of(add.inputs[1]).shape == (5,)


def test_canonical_pair_is_left_alone():
    _, report = apply(run, parse(dense("y = Add(m, b)", "5"), "w b"))
    assert (report.changed, report.skips) == (0, ())


def test_single_number_is_the_bias_of_a_single_column():
    text = "g (float[2,3] x, float[3,1] w, float b) => (float[2,1] y) { m = MatMul(x, w)  y = Add(m, b) }"
    after, report = apply(run, parse(text, "w b"))
    assert (report.changed, ir.constant_of(after.graph[1].inputs[1]).shape) == (1, (1,))


def test_bias_that_deepens_the_product_is_refused():
    model = parse(dense("y = Add(m, b)", "1,1,5", shape="2,3"), "w b")
    infer_shapes.run(model)
    _, report = apply(run, model)
    assert "more axes than the product" in report.skips[0].reason


@pytest.mark.parametrize("bias", ["1", "7,5", "2,7,5", "7,1"])
def test_constant_that_is_not_one_number_per_column_is_refused(bias):
    _, report = apply(run, parse(dense("y = Add(m, b)", bias), "w b"))
    assert "not one number for each of the 5 columns" in report.skips[0].reason


def test_product_with_another_reader_is_refused():
    text = dense("y = Add(b, m)  z = Relu(m)", "5").replace("(float y)", "(float y, float z)")
    _, report = apply(run, parse(text, "w b"))
    assert (report.changed, "another reader" in report.skips[0].reason) == (0, True)


def test_product_with_another_reader_of_which_one_result_is_an_output_is_refused():
    text = dense("y = Add(b, m)  z, mask = Dropout(m)", "5").replace("(float y)", "(float y, float z)")
    _, report = apply(run, parse(text, "w b"))
    assert (report.changed, "another reader" in report.skips[0].reason) == (0, True)


@pytest.mark.parametrize("captured", ["z = branches_on(m)", "n = Neg(m)  z = branches_on(n)"])
def test_product_captured_by_a_body_is_refused(captured):
    text = dense(f"y = Add(b, m)  {captured}", "5")
    text = text.replace("(float y)", "(float y, float z)").replace("] x,", "] x, bool q,")
    _, report = apply(run, parse(text, "w b"))
    assert (report.changed, "another reader" in report.skips[0].reason) == (0, True)


@pytest.mark.parametrize("asks", ["s = Shape(m)", "n = Neg(m)  s = Shape(n)"])
def test_who_asks_the_product_for_its_sizes_alone_asks_the_sum(asks):
    text = dense(f"{asks}  y = Add(m, b)", "5").replace("(float y)", "(float y, int64[3] s)")
    after, report = apply(run, parse(text, "w b"))
    product, total = after.graph[0], next(node for node in after.graph if node.op_type == "Add")
    assert report.changed == 1
    assert [use.node for use in ir.uses(product.outputs[0])] == [total]
    assert len(ir.uses(total.outputs[0])) == 1


def test_residual_add_and_scaling_are_not_touched():
    text = "g (float[2,3] x, float[3,3] w, float s) => (float[2,3] y) { m = MatMul(x, w)  d = Div(m, s)  y = Add(d, x) }"
    after, report = apply(run, parse(text, "w s"))
    assert (ops(after), report.changed, report.skips) == (["MatMul", "Div", "Add"], 0, ())
