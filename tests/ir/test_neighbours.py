"""Types behind operators that onnx does not know are those that the operators around say."""

import pytest

from amct_lite import ir

HEADER = '<ir_version: 8, opset_import: ["" : 17, "acme" : 1]>\n'
CASES = {
    "forwards": ("a = acme.F (x) y = Add (a, w) z = Relu (y)", {"a": "FLOAT", "y": "FLOAT", "z": "FLOAT"}),
    "backwards": ("a = acme.F (x) b = Neg (a) y = Add (b, w)", {"a": "FLOAT", "b": "FLOAT", "y": "FLOAT"}),
    "between": ("a = acme.F (x) b = acme.G (x) c = Mul (a, b) y = Add (c, w)", {"a": "FLOAT", "b": "FLOAT"}),
    "several": ("a = acme.F (x) b = acme.G (x) y = Concat <axis = 0> (a, x, b)", {"a": "FLOAT", "b": "FLOAT"}),
    "of another variable": ("a = acme.F (x) s = Shape (a) y = Gather (w, s)", {"a": None, "s": "INT64"}),
    "of no variable": ("a = acme.F (x) y = Cast <to = 1> (a) z = Add (y, w)", {"a": None, "y": "FLOAT"}),
    "left out": ("a = acme.F (x) y = Clip (a, , h)", {"a": "FLOAT", "y": "FLOAT"}),
}


@pytest.mark.parametrize("case", CASES)
def test_types_spread_over_what_one_variable_stands_for(case):
    body, expected = CASES[case]
    model = ir.from_text(f"{HEADER}net (float[2] x) => (float y) <float[2] w = {{1, 2}}, float h = {{3}}> {{ {body} }}")
    for value in model.graph.outputs:
        value.type = None
    ir.infer_shapes(model)
    found = {value.name: value.dtype and value.dtype.name for node in model.graph for value in node.outputs}
    assert {name: found[name] for name in expected} == expected
