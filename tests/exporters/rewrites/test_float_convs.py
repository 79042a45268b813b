"""Convolutions that stay float have constant weights, and write few channels for several pixels at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from small_nets import ONE_THREAD, net, run

from amct_lite import ir
from amct_lite.config import QuantConfig
from amct_lite.exporters.rewrites.float_convs import store_floats
from amct_lite.pipeline import quantize
from amct_lite.result import QuantizeResult
from amct_lite.runtime import optimized

NET = """net (float[N,3,HEIGHT,WIDTH] x) => (float[N,OUTPUTS,A,B] y) {
  [first] a = Conv <pads=[1,1,1,1]> (x, w) b = Relu (a) [last] y = Conv <ATTRIBUTES> (b, wl, v) }"""
KERNEL = (3, 8, 5, 5)
PADS = "pads=[2,2,2,2]"


def quantized(
    kernel: tuple[int, ...], attributes: str, size: tuple[int, int], behind: str = "", **settings: Any
) -> tuple[QuantizeResult, list[dict[str, np.ndarray]]]:
    replaced = {"HEIGHT": size[0], "WIDTH": size[1], "OUTPUTS": kernel[0], "ATTRIBUTES": attributes}
    text = NET
    for name, value in replaced.items():
        text = text.replace(name, str(value))
    if behind:
        text = text.replace("y = Conv", "c = Conv").replace(" }", f" {behind} }}")
    rng = np.random.default_rng(0)
    bias = rng.standard_normal(kernel[0]).astype(np.float32)
    model = net(text, w=(kernel[1] * (2 if "group=2" in attributes else 1), 3, 3, 3), wl=kernel, v=bias)
    samples = [{"x": rng.standard_normal((1, 3, *size)).astype(np.float32)} for _ in range(8)]
    config = QuantConfig(target="ort", **settings)
    return quantize(ir.load_bytes(model.SerializeToString()), samples, config, options=ONE_THREAD), samples


def last_of(result: QuantizeResult) -> ir.Node:
    assert result.exports.deploy is not None
    return next(node for node in result.exports.deploy.graph if node.name == "last")


def assert_same_floats(result: QuantizeResult, samples: list[dict[str, np.ndarray]]) -> None:
    """The sums are those of the same products, in another order; a code of the layer in front may be one apart at a tie."""
    assert result.exports.deploy is not None
    for sample in samples[:2]:
        (ours, *_), (theirs, *_) = (run(model, sample) for model in (result.exports.deploy, result.exports.fake_quant))
        assert np.quantile(np.abs(ours - theirs), 0.99) <= 1e-5 * np.abs(theirs).max()
        assert np.abs(ours - theirs).max() <= 1e-2 * np.abs(theirs).max()


@pytest.mark.parametrize(
    ("kernel", "attributes", "size"),
    [
        (KERNEL, PADS, (32, 32)),
        (KERNEL, "pads=[2,0,1,0]", (33, 40)),
        (KERNEL, "pads=[0,1,0,3], strides=[2,1]", (64, 36)),
        (KERNEL, 'auto_pad="SAME_UPPER"', (32, 32)),
        (KERNEL, "pads=[0,0,0,0]", (36, 36)),
        ((8, 8, 1, 7), "pads=[0,3,0,3]", (32, 32)),
        ((1, 4, 3, 3), "pads=[1,1,1,1]", (64, 64)),
    ],
)
def test_four_neighbours_at_once_are_the_same_results(kernel: tuple[int, ...], attributes: str, size: tuple[int, int]) -> None:
    result, samples = quantized(kernel, attributes, size)
    last = last_of(result)
    weight = ir.constant_of(last.inputs[1])
    assert weight is not None
    assert weight.shape == (4 * kernel[0], *kernel[1:3], kernel[3] + 3)
    assert ir.attribute(last, "strides", None)[1] == 4
    assert_same_floats(result, samples)
    assert result.report.kernels is not None
    reason = "its output 'y' leaves the network as float; its weight is float"
    assert [(skip.node, skip.reason) for skip in result.report.kernels.in_float] == [("last", reason)]


@pytest.mark.parametrize(
    ("kernel", "attributes", "size"),
    [
        (KERNEL, PADS, (32, 33)),
        (KERNEL, f"{PADS}, strides=[1,2]", (64, 64)),
        (KERNEL, "pads=[4,4,4,4], dilations=[2,2]", (32, 32)),
        (KERNEL, PADS, (16, 16)),
        ((8, 4, 5, 5), f"{PADS}, group=2", (32, 32)),
        ((9, 8, 5, 5), PADS, (32, 32)),
        ((5, 4, 3, 3), "pads=[1,1,1,1]", (64, 64)),
    ],
    ids=["an odd row", "a stride", "gaps", "a small image", "groups", "many outputs", "many of a small kernel"],
)
def test_where_that_cannot_be_or_does_not_pay_only_the_weight_is_stored_as_floats(
    kernel: tuple[int, ...], attributes: str, size: tuple[int, int]
) -> None:
    result, samples = quantized(kernel, attributes, size)
    last = last_of(result)
    weight, bias = (ir.constant_of(value) for value in last.inputs[1:])
    assert weight is not None
    assert bias is not None
    assert (weight.shape, weight.dtype, bias.dtype) == (kernel, np.float32, np.float32)
    assert_same_floats(result, samples)
    assert len(np.unique(weight[0] / np.abs(weight[0]).max() * 127)) <= 255  # the integers' floats, not the source's


@pytest.mark.parametrize("kernel", [(80, 8, 1, 1), (1, 8, 3, 3)])
def test_few_outputs_of_a_small_kernel_gain_nothing(kernel: tuple[int, ...]) -> None:
    result, _ = quantized(kernel, "pads=[0,0,0,0]", (20, 20))
    assert ir.constant_of(last_of(result).inputs[1]) is None


def test_what_is_rounded_keeps_its_integers() -> None:
    result, _ = quantized(KERNEL, PADS, (32, 32), "[round] y = MaxPool <kernel_shape=[1,1]> (c)")
    assert result.exports.deploy is not None
    kernels = [node.op_type for node in optimized(result.exports.deploy).graph]
    assert kernels.count("QLinearConv") == 2


@pytest.mark.parametrize("moved", ["MaxPool <kernel_shape=[2,2]>", "Transpose <perm=[0,2,3,1]>", "Flatten", "Relu"])
def test_what_is_rounded_once_it_is_moved_keeps_its_integers_too(moved: str) -> None:
    """ONNX Runtime rounds first, and would quantize floats with one scale for all channels."""
    model = ir.from_text(f"""<ir_version: 8, opset_import: ["": 17]> net (uint8[1,4,16,16] x) => (uint8[A] y)
      <float s = {{0.02}}, uint8 z = {{128}}> {{ a = DequantizeLinear (x, s, z) b = DequantizeLinear <axis=0> (w, t, o)
      [conv] c = Conv (a, b) d = {moved} (c) y = QuantizeLinear (d, s, z) }}""")
    codes = np.random.default_rng(0).integers(-127, 128, (8, 4, 3, 3)).astype(np.int8)
    for name, array in (("w", codes), ("t", np.full(8, 0.01, np.float32)), ("o", np.zeros(8, np.int8))):
        model.graph.register_initializer(ir.Value(name=name, const_value=ir.tensor_of(array)))
    conv = next(node for node in model.graph if node.name == "conv")
    store_floats(conv)
    assert ir.constant_of(conv.inputs[1]) is None
