"""Codes are added to, and multiplied by, a constant number in integer kernels."""

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

NET = """net (float[N,3,12,12] x) => (float[N,8,12,12] y) {
  [stem] a = Conv <pads=[1,1,1,1]> (x, w) [bent] b = LeakyRelu (a) [op] c = OP [last] d = Conv (c, wl) [end] y = Relu (d) }"""
PARTS = {"w": (8, 3, 3, 3), "wl": (8, 8, 1, 1), "zero": np.float32(0), "half": np.float32(0.5), "minus": np.float32(-0.3)}
PARTS |= {"lone": np.full((1, 1, 1, 1), 0.7, np.float32)}
FLOATS = {"Add", "Sub", "Mul", "Div"}


def kernels(model: ir.Model) -> Counter[str]:
    return Counter(node.op_type for node in optimized(model).graph)


@pytest.mark.parametrize("number", ["half", "minus", "lone"])
@pytest.mark.parametrize(
    "form", ["Add (b, NUMBER)", "Add (NUMBER, b)", "Mul (b, NUMBER)", "Mul (NUMBER, b)", "Sub (b, NUMBER)"]
)
def test_the_number_is_a_code_and_the_results_are_the_same(form: str, number: str) -> None:
    """Bit for bit: `exported` compares them."""
    after = exported(NET.replace("OP", form.replace("NUMBER", number)), PARTS, 3, (12, 12))[1]
    codes = [ir.constant_of(node.inputs[0]) for node in after.graph if node.op_type == "DequantizeLinear"]
    assert [code.shape for code in codes if code is not None and code.size == 1] == [(1, 1, 1, 1)], "as many axes as `b`"
    found = kernels(after)
    assert found["QLinearMul" if "Mul" in form else "QLinearAdd"] == 1
    assert found["QuantizeLinear"] == 1


def test_a_quotient_by_a_power_of_two_is_the_same_product() -> None:
    found = kernels(exported(NET.replace("OP", "Div (b, half)"), PARTS, 3, (12, 12))[1])
    assert found["QLinearMul"] == found["QuantizeLinear"] == 1


@pytest.mark.parametrize("form", ["Sub (half, b)", "Div (half, g)", "Mul (b, zero)"])
def test_forms_without_an_integer_kernel_stay(form: str) -> None:
    """What is subtracted or divided by is no number; a zero has no scale."""
    text = NET.replace(
        "[op] c = OP", "[far] f = Exp (b) [more] g = Add (f, half) [op] c = OP" if "g)" in form else "[op] c = OP"
    )
    after = exported(text.replace("OP", form), PARTS, 3, (12, 12))[1]
    assert FLOATS & kernels(after).keys()


def test_behind_a_kernel_that_writes_floats_they_stay_floats() -> None:
    """There would be one rounding more: a MatMul gives its sums as floats."""
    text = """net (float[N,5,12] x) => (float[N,5,4] y) {
      [first] a = MatMul (x, w) [op] b = Mul (a, half) [second] c = MatMul (b, wl) [end] y = Relu (c) }"""
    rng = np.random.default_rng(0)
    data = [{"x": rng.standard_normal((1, 5, 12)).astype(np.float32)} for _ in range(4)]
    model = net(text, w=(12, 8), wl=(8, 4), half=np.float32(0.5))
    result = quantize(ir.load_bytes(model.SerializeToString()), data, QuantConfig(target="ort"), options=ONE_THREAD)
    assert "op:0" not in result.record.by_key


def test_a_number_whose_sum_leaves_the_network_stays() -> None:
    text = NET.replace("OP", "Add (b, half)").replace("(float[N,8,12,12] y)", "(float[N,8,12,12] y, float[N,8,12,12] c)")
    assert kernels(exported(text, PARTS, 3, (12, 12))[1])["Add"] == 1


def test_a_number_with_more_axes_than_the_tensor_adds_them() -> None:
    text = NET.replace("[last] d = Conv (c, wl)", "[less] s = Squeeze (c, first) [last] d = Conv (s, wl)")
    many = {"many": np.full((1, 1, 1, 1, 1), 0.5, np.float32), "first": np.array([0])}
    found = kernels(exported(text.replace("OP", "Add (b, many)"), PARTS | many, 3, (12, 12))[1])
    assert found["QLinearAdd"] == 1


def test_a_divisor_without_a_reciprocal_stays() -> None:
    """1 / 1e-39 is no float32."""
    small = {"w": np.full((8, 3, 3, 3), 1e-5, np.float32), "least": np.float32(1e-39)}
    assert kernels(exported(NET.replace("OP", "Div (b, least)"), PARTS | small, 3, (12, 12))[1])["Div"] == 1
