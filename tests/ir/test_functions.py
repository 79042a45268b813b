"""Model-local functions can be added, called and replaced."""

import numpy as np
import onnxruntime
import pytest
from onnx_check import full_check

from amct_lite import ir

TEXT = '<ir_version: 7, opset_import: ["" : 17]>\nnet (float[4] x) => (float[4] y) { y = Relu (x) }'
SCALE = """<domain: "acme", opset_import: ["" : 17]>
Scale <factor> (a) => (b) {
  k = Constant <value_float: float = @factor> ()
  b = Mul (a, k)
}"""


def call(model, name, **attributes):
    node = ir.new_node(name, [model.graph.inputs[0]], name="call", domain="acme", attributes=attributes)
    ir.insert_before(model.graph[0], node)
    ir.replace_input(model.graph[1], 0, node.outputs[0])


def run(model):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(ir.to_bytes(model), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": np.arange(-2, 2, dtype=np.float32)})[0].tolist()


def test_function_with_attribute_runs():
    model = ir.from_text(TEXT)
    ir.add_function(model, SCALE)
    call(model, "Scale", factor=-2.0)
    assert run(model) == [4, 2, 0, 0]
    assert model.opset_imports["acme"] == 1
    assert model.ir_version >= 8
    full_check(model)


def test_second_definition_replaces_the_first():
    model = ir.from_text(TEXT)
    ir.add_function(model, SCALE)
    ir.add_function(model, SCALE.replace("Mul", "Add"))
    call(model, "Scale", factor=2.0)
    assert run(model) == [0, 1, 2, 3]


def test_text_that_does_not_parse_is_refused():
    with pytest.raises(ValueError, match="the function does not parse"):
        ir.add_function(ir.from_text(TEXT), "Scale (a) => ")


def test_constants_of_functions_and_of_bodies_are_counted():
    model = ir.from_text("""<ir_version: 8, opset_import: ["" : 17, "acme" : 1]>
net (bool c, float[4] x) => (float[4] y) <float[4] w = {1, 2, 3, 4}> {
  h = Mul (x, w)
  y = If (c) <
    then_branch = t () => (float[4] a) <float[2] u = {1, 2}> { k = ReduceSum (u)  a = Add (h, k) },
    else_branch = e () => (float[4] b) { b = Neg (h) }
  >
}""")
    ir.add_function(
        model,
        '<domain: "acme", opset_import: ["" : 17]> F (a) => (b) { k = Constant <value = float[1] {1}> () b = Mul (a, k) }',
    )
    assert ir.parameter_count(model) == 4 + 2 + 1
    assert ir.weight_bytes(model) == 4 * (4 + 2 + 1)
