"""Single layers in float16: what they compute, what is around them, and what does not fit."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from small_nets import images, net, run, saved

from amct_lite import ir
from amct_lite.errors import ExportError
from amct_lite.exporters.halves import in_half
from amct_lite.loading import load_prepared

HALF = ir.DataType.FLOAT16
WITH_BIAS = """net (float[N,4] x) => (float[N,3] y) {
  [relu] r = Relu(x)
  [product] p = MatMul(r, w)
  [bias] y = Add(p, b)
}"""
SHARED = """net (float[N,3,16,16] x) => (float[N,8,16,16] y, float[N,8,16,16] a) {
  [conv1] a = Conv<pads = [1,1,1,1]>(x, w1, b1)
  [conv3] e = Conv(a, w3, b3)
  [add] y = Add(e, a)
}"""


def prepared(text: str, **values: object) -> ir.Model:
    with TemporaryDirectory() as folder:
        return load_prepared(saved(net(text, **values), Path(folder))).prepared


def test_a_product_and_its_bias_compute_in_float16_and_the_output_stays_float32() -> None:
    weight, bias = np.float32([[1 / 3, 2, 3], [4, 5, 6], [7, 8, 9], [1, 1, 1 / 7]]), np.float32([0.1, 0.2, 0.3])
    model = prepared(WITH_BIAS, w=weight, b=bias)
    result = in_half(model, {"product"})
    node = next(node for node in result.graph if node.name == "product")
    assert {value.dtype for value in node.inputs} == {HALF}
    assert [(str(value.name), value.dtype) for value in result.graph.outputs] == [("y", ir.DataType.FLOAT)]
    assert [value.dtype for value in model.graph.outputs] == [ir.DataType.FLOAT]
    x = np.float32([[0.5, 1 / 3, -1, 2]])
    (found,) = run(result, {"x": x})
    exact = np.maximum(x, 0) @ weight + bias
    assert found.dtype == np.float32
    assert np.abs(found - exact).max() <= 4 * 2.0**-11 * np.abs(exact).max()  # data, weight, product and sum are rounded
    assert not np.array_equal(found, exact)
    assert np.array_equal(ir.constant_of(node.inputs[1]), weight.astype(np.float16))


def test_what_other_nodes_read_stays_float32() -> None:
    result = in_half(prepared(SHARED), {"conv1", "conv3"})
    kinds = {str(node.name): [value.dtype for value in node.inputs] for node in result.graph}
    assert kinds["conv1"] == kinds["conv3"] == [HALF] * 3
    assert kinds["add"] == [ir.DataType.FLOAT] * 2
    feeds = images(1)[0]
    for exact, found in zip(run(prepared(SHARED), feeds), run(result, feeds), strict=True):
        assert np.abs(found - exact).max() <= 2.0**-8 * np.abs(exact).max()  # sums of 27 products and of 8


def test_without_layers_the_model_is_the_same() -> None:
    model = prepared(SHARED)
    assert in_half(model, ()) is model


def test_a_weight_beyond_float16_is_refused() -> None:
    weight = np.full((8, 8, 1, 1), 7e4, np.float32)
    with pytest.raises(ExportError, match=r"'w3' holds 70000, .* does not\. Take the layer that reads it out of float16"):
        in_half(prepared(SHARED, w3=weight), {"conv3"})
