"""A MaxPool of codes that no integer convolution wrote has its channels last."""

from __future__ import annotations

import pytest
from test_channels import ORT, exported

from amct_lite.config import QuantConfig
from amct_lite.runtime import optimized

NET = """net (float[N,3,12,12] x) => (float[N,4,H,W] y) {
  [stem] a = Conv <pads=[1,1,1,1]> (x, ws) [act] r = Relu (a) [pool] p = MaxPool <HOW> (r) [last] y = Conv (p, wl) }"""
WEIGHTS = {"ws": (16, 3, 3, 3), "wl": (4, 16, 1, 1)}
STEM_IN_FLOAT = QuantConfig(target="ort", algorithm="minmax", bias_correction="none", skip=("stem",))


def kernels(text: str, config: QuantConfig, **given: object) -> list[str]:
    """The pools that ONNX Runtime executes; the model for it was run beside the fake-quant model, and is equal."""
    after = exported(text, {**WEIGHTS, **given}, 3, (12,) * text.count("12"), config=config)[1]
    return [node.op_type for node in optimized(after).graph if "Pool" in node.op_type]


@pytest.mark.parametrize(
    "how",
    [
        "kernel_shape=[2,2], strides=[2,2]",
        "kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1]",
        "kernel_shape=[3,2], strides=[2,3], ceil_mode=1",
        "kernel_shape=[2,2], dilations=[2,3]",
        'kernel_shape=[3,3], auto_pad="SAME_UPPER"',
    ],
)
def test_behind_a_layer_in_float(how: str) -> None:
    assert kernels(NET.replace("HOW", how), STEM_IN_FLOAT) == ["NhwcMaxPool"]


def test_behind_another_and_behind_a_pad() -> None:
    twice = "MaxPool <kernel_shape=[2,2]> (r) [second] p = MaxPool <kernel_shape=[2,2]> (o)"
    text = NET.replace("p = MaxPool <HOW> (r)", f"o = {twice}")
    assert kernels(text, STEM_IN_FLOAT) == ["NhwcMaxPool"] * 2
    text = NET.replace("[pool] p = MaxPool <HOW> (r)", "[pad] o = Pad (r, widths) [pool] p = MaxPool <kernel_shape=[2,2]> (o)")
    assert kernels(text, STEM_IN_FLOAT, widths=[0, 0, 1, 1, 0, 0, 1, 1]) == ["NhwcMaxPool"]


@pytest.mark.parametrize("axes", [1, 3])
def test_of_signals_and_volumes(axes: int) -> None:
    sizes, pads = ",".join(["12"] * axes), ",".join("1" * 2 * axes)
    text = NET.replace("12,12", sizes).replace("H,W", ",".join("HWD"[:axes])).replace("1,1,1,1", pads)
    weights = {"ws": (16, 3, *(3,) * axes), "wl": (4, 16, *(1,) * axes)}
    assert kernels(text.replace("HOW", f"kernel_shape=[{','.join('2' * axes)}]"), STEM_IN_FLOAT, **weights) == ["NhwcMaxPool"]


def test_behind_an_integer_convolution_it_is_left_to_onnx_runtime() -> None:
    text = NET.replace("HOW", "kernel_shape=[2,2]")
    after = exported(text, WEIGHTS, 3, (12, 12), config=ORT)[1]
    assert {node.op_type for node in after.graph if "Pool" in node.op_type} == {"MaxPool"}
    assert kernels(text, ORT) == ["NhwcMaxPool"]


def test_whose_places_are_read_stays() -> None:
    text = NET.replace("=> (float[N,4,H,W] y)", "=> (float[N,4,H,W] y, int64[N,16,H,W] i)").replace(
        "p = MaxPool <HOW>", "p, i = MaxPool <kernel_shape=[2,2]>"
    )
    after = exported(text, WEIGHTS, 3, (12, 12), config=STEM_IN_FLOAT)[1]
    assert {node.op_type for node in after.graph if "Pool" in node.op_type} == {"MaxPool"}
