"""Layers are found again in the graph that ONNX Runtime executes, under the names that it gives them."""

import pytest
from exporters.test_ascend import model_of

from amct_lite.validate.executed import executed


@pytest.mark.parametrize(
    ("layer", "kernel"),
    [
        ("fc", "fc"),
        ("fc", "fc/MatMulAddFusion"),
        ("fc", "fc/MatMulScaleFusion/"),
        ("fc", "fc_nchwc_token_12"),
        ("fc/MatMulAddFusion", "fc/MatMulAddFusion"),
        ("fc/MatMulAddFusion", "fc/MatMulAddFusion_token_3"),
        ("fc_nhwc", "fc_nhwc"),
    ],
)
def test_a_layer_is_found_by_its_name(layer: str, kernel: str) -> None:
    model = model_of("g (float[2,3] x, float[3,3] w) => (float[2,3] y) { y = MatMul(x, w) }", "w")
    model.graph[0].name = layer
    assert executed(list(model.graph), ["another", kernel]) == {layer: kernel}


def test_a_layer_is_found_by_what_it_gives() -> None:
    model = model_of("g (float[2,3] x, float[3,3] w) => (float[2,3] y) { m = MatMul(x, w)  y = Relu(m) }", "w")
    assert executed([model.graph[0]], ["y"]) == {model.graph[0].name: "y"}
