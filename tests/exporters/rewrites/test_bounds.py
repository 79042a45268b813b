"""A Relu or Clip that the range of a shared grid goes beyond acts on codes, so that the kernel in front is an integer one."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from small_nets import ONE_THREAD, net
from test_channels import exported

from amct_lite import ir
from amct_lite.config import QuantConfig
from amct_lite.pipeline import quantize
from amct_lite.runtime import optimized

SKIP = """net (float[N,3,12,12] x) => (float[N,8,12,12] y) {
  [stem] a = Conv <pads=[1,1,1,1]> (x, w) [bound] b = BOUND
  [other] c = Conv (b, wc) [joined] d = Concat <axis=1> (b, c) [last] e = Conv (d, wl) [end] y = Relu (e) }"""
PARTS = {"w": (8, 3, 3, 3), "wc": (8, 8, 1, 1), "wl": (8, 16, 1, 1), "zero": np.float32(0), "one": np.float32(1)}


def kernels(model: ir.Model) -> Counter[str]:
    return Counter(node.op_type for node in optimized(model).graph)


@pytest.mark.parametrize("bound", ["Relu (a)", "Clip (a, zero, one)", "Clip (a, , one)", "Clip (a, zero)"])
def test_it_bounds_the_codes_of_a_grid_that_goes_beyond(bound: str) -> None:
    """The model was run beside the fake-quant model, node by node, and is equal."""
    after = exported(SKIP.replace("BOUND", bound), PARTS, 3, (12, 12))[1]
    (clip,) = (node for node in after.graph if node.op_type == "Clip")
    assert clip.inputs[0].producer().op_type == "QuantizeLinear"
    found = kernels(after)
    assert found["QLinearConv"] == 2
    assert found["QuantizeLinear"] == 1


def test_one_that_its_range_implies_is_left_to_the_optimizer() -> None:
    """All that the Concat joins lies above zero."""
    text = SKIP.replace("BOUND", "Relu (a)").replace(
        "c = Conv (b, wc) [joined]", "h = Conv (b, wc) [too] c = Relu (h) [joined]"
    )
    after = exported(text, PARTS, 3, (12, 12))[1]
    assert not any(node.op_type == "Clip" for node in after.graph)
    assert kernels(after)["QLinearConv"] == 2


def test_one_whose_floats_are_an_output_stays() -> None:
    text = SKIP.replace("BOUND", "Relu (a)").replace("(float[N,8,12,12] y)", "(float[N,8,12,12] y, float[N,8,12,12] b)")
    after = exported(text, PARTS, 3, (12, 12))[1]
    assert not any(node.op_type == "Clip" for node in after.graph)
    assert any(node.name == "bound" for node in after.graph)


CHAIN = """net (float[N,3,12,12] x) => (float[N,8,5,5] y) {
  [stem] a = Conv <pads=[1,1,1,1]> (x, w) [one] b = Relu (a) [next] c = Conv (b, wc) [two] d = Relu (c)
  [pool] p = AveragePool <kernel_shape=[2,2]> (d) [third] e = Conv (p, wc) [three] f = Relu (e)
  [pad] g = Pad (f, around) [fourth] h = Conv <strides=[2,2]> (g, w4) [four] i = Relu (h)
  [last] j = Conv (i, wc) [end] y = Relu (j) }"""


def test_with_symmetric_ranges_each_of_a_chain_is_bounded_and_all_layers_stay_integer() -> None:
    rng = np.random.default_rng(0)
    samples = [{"x": rng.standard_normal((1, 3, 12, 12)).astype(np.float32)} for _ in range(4)]
    values = PARTS | {"w4": (8, 8, 3, 3), "around": np.array([0, 0, 0, 0, 0, 0, 1, 1])}
    model = ir.load_bytes(net(CHAIN, **values).SerializeToString())
    config = QuantConfig(target="ort", symmetric=True, bias_correction="none")
    exports = quantize(model, samples, config, options=ONE_THREAD).exports
    assert exports.deploy is not None
    found = kernels(exports.deploy)
    assert found["QLinearConv"] == 5, "four layers, and the pooling"
    assert found["QuantizeLinear"] == 1


@pytest.mark.parametrize("bound", ["Clip (a, low, high)", "Clip (a, , high)", "Clip (a, low)", "Clip (a)"])
@pytest.mark.parametrize("product", ["MatMul (x, w)", "Gemm (x, w, c)"])
def test_one_behind_a_product_that_floats_are_read_of_keeps_no_integer_kernel_away(product: str, bound: str) -> None:
    text = f"""net (float[N,16] x) => (float[N,8] y) {{ [fc] a = {product} [bound] b = {bound} [end] y = Softmax (b) }}"""
    rng = np.random.default_rng(3)
    model = net(text, w=(16, 8), c=(8,), low=np.float32(-0.5), high=np.float32(0.5)).SerializeToString()
    data = [{"x": rng.standard_normal((2, 16)).astype(np.float32)} for _ in range(8)]
    result = quantize(ir.load_bytes(model), data, QuantConfig(target="ort"), options=ONE_THREAD)
    assert result.report.kernels is not None
    assert result.report.kernels.integer == 1


def test_one_that_gives_an_output_keeps_its_name() -> None:
    text = "net (float[N,16] x) => (float[N,8] y) { [fc] a = MatMul (x, w) [bound] y = Clip (a, low) }"
    model = net(text, w=(16, 8), low=np.float32(0.25)).SerializeToString()
    data = [{"x": np.random.default_rng(seed).standard_normal((2, 16)).astype(np.float32)} for seed in range(8)]
    exported = quantize(ir.load_bytes(model), data, QuantConfig(target="ort"), options=ONE_THREAD).exports.deploy
    assert exported is not None
    assert [(str(value.name), value.producer().op_type) for value in exported.graph.outputs] == [("y", "Max")]
