"""Every operator of the table becomes an integer kernel of the installed ONNX Runtime, between two quantized convolutions."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from small_nets import ONE_THREAD, images, kernels, net

from amct_lite.config import QuantConfig
from amct_lite.flow.kernels import KERNELS
from amct_lite.ir import load_bytes
from amct_lite.pipeline import quantize

BETWEEN = {
    "Add": "s = Conv (a, w2) m = Add (s, a)",
    "Mul": "s = Conv (a, w2) m = Mul (s, a)",
    "Sub": "r = LeakyRelu (a) m = Sub (r, number)",
    "Div": "r = LeakyRelu (a) m = Div (r, number)",
    "AveragePool": "m = AveragePool <kernel_shape = [2, 2], pads = [1, 1, 0, 0]> (a)",
    "BatchNormalization": "q = MaxPool <kernel_shape = [2, 2]> (a) n = BatchNormalization (q, one, one, one, one) m = Relu (n)",
    "HardSigmoid": "m = HardSigmoid (a)",
    "GlobalAveragePool": "m = GlobalAveragePool (a)",
    "LeakyRelu": "m = LeakyRelu <alpha = 0.1> (a)",
    "ReduceMean": "m = ReduceMean <axes = [2, 3], keepdims = 1> (a)",
    "Sigmoid": "m = Sigmoid (a)",
    "Concat": "s = Conv (a, w2) c = Concat <axis = 1> (s, a) m = Conv (c, w3)",
    "DepthToSpace": "m = DepthToSpace <blocksize = 2> (a)",
    "Flatten": "f = Flatten (a) m = Reshape (f, back)",
    "MaxPool": "m = MaxPool <kernel_shape = [2, 2]> (a)",
    "Pad": "m = Pad (a, around)",
    "Reshape": "m = Reshape (a, same)",
    "Resize": "m = Resize <mode = \"nearest\"> (a, , twice)",
    "Slice": "m = Slice (a, first, last)",
    "Split": "p, q = Split <axis = 1> (a, halves) m = Concat <axis = 1> (q, p)",
    "Squeeze": "q = Squeeze (a, front) m = Unsqueeze (q, front)",
    "Transpose": "m = Transpose <perm = [0, 1, 3, 2]> (a)",
    "Unsqueeze": "q = Squeeze (a, front) m = Unsqueeze (q, front)",
}  # fmt: skip
CONSTANTS = {
    "number": np.float32(0.3),
    "back": np.array([-1, 8, 16, 16]),
    "around": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
    "same": np.array([0, 8, 16, 16]),
    "twice": np.array([1, 1, 2, 2], np.float32),
    "first": np.array([0, 0, 2, 2]),
    "last": np.array([1, 8, 12, 12]),
    "front": np.array([0]),
    "one": np.ones(8, np.float32),
    "halves": np.array([4, 4]),
}


def kernels_of(between: str) -> Counter[str]:
    """The operators that ONNX Runtime executes in the exported model of conv → `between` → conv."""
    last = "w5" if "DepthToSpace" in between else "w4"
    body = f"a = Conv <pads = [1,1,1,1]> (x, w1) {between} y = Conv (m, {last})"
    text = f"net (float[1,3,16,16] x) => (float[N,C,H,W] y) {{ {body} }}"
    weights = {"w2": (8, 8, 1, 1), "w3": (8, 16, 1, 1), "w4": (8, 8, 1, 1), "w5": (8, 2, 1, 1)}
    model = load_bytes(net(text, **CONSTANTS, **weights).SerializeToString())
    return kernels(quantize(model, images(4), QuantConfig(target="ort"), options=ONE_THREAD))


def test_every_operator_of_the_table_is_tried() -> None:
    assert BETWEEN.keys() == KERNELS.keys()


@pytest.mark.parametrize("op_type", sorted(BETWEEN))
def test_integers_flow_through(op_type: str) -> None:
    """Between the two convolutions nothing is float: the last one, whose output leaves the network, is not asked for more."""
    found = kernels_of(BETWEEN[op_type])
    convolutions = sum(BETWEEN[op_type].count(one) for one in ("Conv", "BatchNormalization"))
    assert found["QLinearConv"] == convolutions + 1, found
    assert found["QuantizeLinear"] <= 1, found


def test_an_operator_without_integer_kernel_breaks_the_flow() -> None:
    """Tanh is computed in float: a DequantizeLinear in front, a QuantizeLinear behind."""
    assert kernels_of("m = Tanh (a)")["QuantizeLinear"] == 2
