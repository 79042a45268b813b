"""Functions of the model are written out where they are called, so that their layers are layers of the model."""

import numpy as np
from graphs import apply, assert_agrees, ops, parse

from amct_lite.passes.inline_functions import run

HEADER = '<ir_version: 9, opset_import: ["": 17, "my": 1]>'
BLOCK = '<domain: "my", opset_import: ["": 17]> block (a, w) => (b) { c = MatMul(a, w) b = Relu(c) }'
WEIGHTS = {"w": np.ones((3, 3), np.float32)}


def inlined(graph, functions=BLOCK, **values):
    return apply(run, parse(f"{graph}\n{functions}", header=HEADER, **values))


def test_each_call_becomes_the_body():
    text = "g (float[2,3] x, float[3,3] w) => (float[2,3] y) { h = my.block(x, w)  y = my.block(h, w) }"
    after, report = inlined(text, **WEIGHTS)
    assert ops(after) == ["MatMul", "Relu", "MatMul", "Relu"]
    assert report.changed == 2
    names = [node.name for node in after.graph]
    assert len(set(names)) == 4
    assert names[0].endswith(".c")


def test_what_a_function_calls_is_written_out_too():
    outer = '<domain: "my", opset_import: ["": 17, "my": 1]> twice (p, v) => (q) { r = my.block(p, v)  q = my.block(r, v) }'
    after, report = inlined("g (float[2,3] x, float[3,3] w) => (float[2,3] y) { y = my.twice(x, w) }", outer + BLOCK, **WEIGHTS)
    assert ops(after) == ["MatMul", "Relu", "MatMul", "Relu"]
    assert report.changed == 3
    assert "3 calls of functions" in report.notes[0]


def test_attributes_and_their_defaults_are_put_in():
    head = '<domain: "my", opset_import: ["": 17]> leaky <slope: float = 0.25> (a) => (b)'
    leaky = f"{head} {{ b = LeakyRelu<alpha: float = @slope>(a) }}"
    after, _ = inlined("g (float[2] x) => (float[2] y) { h = my.leaky<slope = 0.5>(x)  y = my.leaky(h) }", leaky)
    assert [node.attributes["alpha"].value for node in after.graph] == [0.5, 0.25]


def test_a_call_inside_a_body_is_written_out():
    then = "a () => (float[2,3] p) { p = my.block(x, w) }"
    other = "b () => (float[2,3] q) { q = Neg(x) }"
    chosen = f"y = If (c) <then_branch = {then}, else_branch = {other}>"
    after, _ = inlined(f"g (float[2,3] x, float[3,3] w, bool c) => (float[2,3] y) {{ {chosen} }}", **WEIGHTS)
    assert [node.op_type for node in after.graph[0].attributes["then_branch"].value] == ["MatMul", "Relu"]


def test_a_function_of_another_version_stays():
    text = "g (float[2,3] x, float[3,3] w) => (float[2,3] y) { y = my.block(x, w) }"
    after, report = inlined(text, BLOCK.replace('"": 17', '"": 13'), **WEIGHTS)
    assert (ops(after), report.changed) == (["block"], 0)
    assert report.skips[0].reason == "the function that it calls needs opset 13, which the model has in another version"


def test_a_result_that_is_left_out_names_no_node():
    recurrent = '"", b, "" = LSTM<hidden_size = 2>(a, w, r)'
    before = parse(
        f"g (float[5,1,3] x, float[1,8,3] v, float[1,8,2] u) => (float[1,1,2] y) {{ y = my.last(x, v, u) }}\n"
        f'<domain: "my", opset_import: ["": 17]> last (a, w, r) => (b) {{ {recurrent} }}',
        "v u",
        header=HEADER,
    )
    after, _ = apply(run, before)
    node = after.graph[0]
    assert (node.op_type, node.name) == ("LSTM", "last_0.b")
    assert node.outputs[1].name == "y"
    assert_agrees(before, after)
