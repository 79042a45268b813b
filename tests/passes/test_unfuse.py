"""What ONNX Runtime fused stands apart again, and computes the same in ONNX Runtime."""

import numpy as np
import pytest
from graphs import apply, ops, parse

from amct_lite.passes.unfuse import run

HEADER = '<ir_version: 8, opset_import: ["": 17, "com.microsoft": 1]>'
CONV = (
    "g (float[1,2,5,5] x, float[3,2,1,1] w, float[3] b, float[1,3,5,5] z) => (float[1,3,5,5] y) { y = com.microsoft.FusedConv"
)
PRODUCT = "g (float[2,4,3] x, float[2,3,5] v, float[2,5,4] t) => (float y) { y = com.microsoft.FusedMatMul"
ROWS = "g (float[2,3,4] x, float[2,3,4] s, float[4] w, float[4] b, float[4] c) => (float[2,3,4] y, float[2,3,4] z) {"

CASES = {
    "conv": (CONV, "(x, w, b) }", ["Conv"]),
    "relu": (CONV, '<activation = "Relu">(x, w, b) }', ["Conv", "Relu"]),
    "sum": (CONV, '<activation = "Relu">(x, w, b, z) }', ["Conv", "Add", "Relu"]),
    "clip": (CONV, '<activation = "Clip", activation_params = [-0.5, 0.75]>(x, w, b) }', ["Conv", "Clip"]),
    "leaky": (CONV, '<activation = "LeakyRelu", activation_params = [0.3]>(x, w, b) }', ["Conv", "LeakyRelu"]),
    "hard": (CONV, '<activation = "HardSigmoid", activation_params = [0.3, 0.4]>(x, w, b) }', ["Conv", "HardSigmoid"]),
    "gemm": (
        *("g (float[2,3] x, float[4,3] w, float[4] b) => (float[2,4] y) {",),
        *('y = com.microsoft.FusedGemm<transB = 1, alpha = 0.5, activation = "LeakyRelu", activation_alpha = 0.2>(x, w, b) }',),
        ["Gemm", "LeakyRelu"],
    ),
    "product": (PRODUCT, "<alpha = 0.25>(x, v) }", ["MatMul", "Mul"]),
    "turned": (PRODUCT, "<transA = 1, transB = 1>(x, t) }", ["Transpose", "Transpose", "MatMul"]),
    "bias_gelu": (ROWS, "y = com.microsoft.BiasGelu(x, b)  z = Neg(s) }", ["Add", "Div", "Erf", "Add", "Mul", "Mul", "Neg"]),
    "gelu": (ROWS, "y = com.microsoft.Gelu(x)  z = Neg(s) }", ["Div", "Erf", "Add", "Mul", "Mul", "Neg"]),
    "fast_gelu": (
        *(ROWS, "y = com.microsoft.FastGelu(x, b)  z = Neg(s) }"),
        ["Add", "Pow", "Mul", "Add", "Mul", "Tanh", "Add", "Mul", "Mul", "Neg"],
    ),
    "quick_gelu": (ROWS, "y = com.microsoft.QuickGelu<alpha = 1.5>(x)  z = Neg(s) }", ["Mul", "Sigmoid", "Mul", "Neg"]),
    "silu": (ROWS, "y = com.microsoft.QuickGelu<alpha = 1.0>(x)  z = Neg(s) }", ["Sigmoid", "Mul", "Neg"]),
}


@pytest.mark.parametrize("case", CASES)
def test_each_operator_is_put_in_words_of_onnx(case):
    graph, body, expected = CASES[case]
    after, report = apply(run, parse(f"{graph} {body}", "w b c", header=HEADER))
    assert ops(after) == expected
    assert not [node for node in after.graph if node.domain]
    assert report.changed == 1
    assert "1 fused operator stands apart" in report.notes[0]


REFUSED = {
    "batches": (PRODUCT.replace("[2,3,5] v", "[3,2,5] v"), "<transBatchB = 1>(x, v) }", "batches are transposed"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_has_no_such_words_stays_with_the_reason(case):
    graph, body, reason = REFUSED[case]
    model = parse(f"{graph} {body}", "w b c", header=HEADER)
    report = run(model)
    assert report.changed == 0
    assert reason in report.skips[0].reason
    assert model.graph[0].domain == "com.microsoft"


def test_half_precision_keeps_its_type():
    text = "g (float16[2,4] x, float16[4] b) => (float16[2,4] y) { y = com.microsoft.BiasGelu(x, b) }"
    model = parse(text, b=np.ones(4, np.float16), header=HEADER)
    run(model)
    assert {value.dtype.name for value in model.graph.initializers.values()} == {"FLOAT16"}
