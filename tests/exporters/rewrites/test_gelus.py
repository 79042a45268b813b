"""A Gelu is one kernel, whatever it was written as."""

from __future__ import annotations

import numpy as np
import pytest
from small_nets import ONE_THREAD, kernels, net, require_alike

from amct_lite import ir
from amct_lite.config import QuantConfig
from amct_lite.pipeline import quantize
from amct_lite.result import QuantizeResult

CONVS = """net (float[N,3,12,12] x) => (float[N,8,12,12] y) {
  [stem] a = Conv <pads=[1,1,1,1]> (x, w) GELU [last] e = Conv (b, wl) [end] y = Relu (e) }"""
NUMBERS = {
    "root": np.float32(2**0.5), "rough": np.float32(1.4142), "inverse": np.float32(0.5**0.5), "one": np.float32(1),
    "two": np.float32(2), "half": np.array([0.5], np.float32), "other": np.float32(1.5), "three": np.float32(3),
    "scale": np.float32((2 / np.pi) ** 0.5), "cubic": np.float32(0.044715),
}  # fmt: skip
WEIGHTS = {"w": (8, 3, 3, 3), "wl": (8, 8, 1, 1)}
BEHIND = "d = Div (a, root) f = Erf (d) p = Add (f, one) m = Mul (a, p) b = Mul (m, half)"
IN_FRONT = "h = Mul (a, half) d = Mul (inverse, a) f = Erf (d) p = Add (one, f) b = Mul (h, p)"
DIVIDED = "h = Div (a, two) d = Div (a, rough) f = Erf (d) p = Add (f, one) b = Mul (p, h)"


TORCH = """q = Mul (a, a) c = Mul (q, a) k = Mul (c, cubic) i = Add (a, k) j = Mul (i, scale) t = Tanh (j) p = Add (t, one)
  h = Mul (a, half) b = Mul (h, p)"""
POWER = """h = Mul (half, a) c = Pow (a, three) k = Mul (cubic, c) i = Add (a, k) j = Mul (scale, i) t = Tanh (j)
  p = Add (one, t) b = Mul (h, p)"""
FACTOR = """q = Mul (a, a) k = Mul (cubic, q) i = Add (one, k) s = Mul (a, scale) j = Mul (s, i) t = Tanh (j) p = Add (t, one)
  m = Mul (a, p) b = Mul (half, m)"""


def samples(*shape: int) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    return [{"x": rng.standard_normal(shape).astype(np.float32) * 3} for _ in range(8)]


def quantized(text: str, *shape: int, opset: int = 17, **values: object) -> QuantizeResult:
    model = net(text, opset=opset, **values)
    config = QuantConfig(target="ort")
    return quantize(ir.load_bytes(model.SerializeToString()), samples(*shape), config, options=ONE_THREAD)


def with_gelu(gelu: str, opset: int = 17) -> QuantizeResult:
    return quantized(CONVS.replace("GELU", gelu), 1, 3, 12, 12, opset=opset, **WEIGHTS, **NUMBERS)


@pytest.mark.parametrize("opset", [13, 17, 21])
@pytest.mark.parametrize("gelu", [BEHIND, IN_FRONT, DIVIDED])
def test_a_gelu_of_codes_is_one_kernel(gelu: str, opset: int) -> None:
    result = with_gelu(gelu, opset)
    found = kernels(result)
    assert (found["Gelu"], found["QLinearConv"]) == (1, 1)
    assert not {"Erf", "Div", "Mul"} & found.keys()
    assert result.exports.deploy is not None
    assert result.exports.deploy.opset_imports["com.microsoft"] == 1
    require_alike(result.exports, samples(1, 3, 12, 12)[:2], 35)  # a code at a tie may be one apart


@pytest.mark.parametrize("gelu", [TORCH, POWER, FACTOR])
def test_one_of_a_tanh_is_one_kernel(gelu: str) -> None:
    result = with_gelu(gelu)
    found = kernels(result)
    assert (found["FastGelu"], found["QLinearConv"]) == (1, 1)
    assert not {"Tanh", "Pow", "Mul"} & found.keys()
    require_alike(result.exports, samples(1, 3, 12, 12)[:2], 35)  # a code at a tie may be one apart


@pytest.mark.parametrize(
    "gelu",
    [
        TORCH.replace("cubic", "half"),
        TORCH.replace("scale", "one"),
        POWER.replace("three", "two"),
        FACTOR.replace("Mul (a, p)", "Mul (s, p)"),
    ],
)
def test_what_has_another_tanh_keeps_its_parts(gelu: str) -> None:
    found = kernels(with_gelu(gelu))
    assert (found["FastGelu"], found["Tanh"]) == (0, 1)


@pytest.mark.parametrize(
    "gelu",
    [
        BEHIND.replace("half", "two"),
        BEHIND.replace("root", "two"),
        BEHIND.replace("one", "other"),
        BEHIND.replace("Mul (a, p)", "Mul (d, p)"),
        IN_FRONT.replace("half", "inverse"),
        f"{BEHIND.replace('b =', 'c =')} b = Add (c, p)",
    ],
)
def test_what_only_looks_like_one_keeps_its_parts(gelu: str) -> None:
    found = kernels(with_gelu(gelu))
    assert (found["Gelu"], found["Erf"]) == (0, 1)


@pytest.mark.parametrize("deep", ["root", "one", "half"])
def test_one_that_adds_an_axis_keeps_its_parts(deep: str) -> None:
    text = f"""net (float[N,6,16] x) => (float[K,N,6,4] y) {{ [first] a = MatMul (x, w) {BEHIND} [last] y = MatMul (b, wl) }}"""
    values = {"w": (16, 8), "wl": (8, 4)} | {name: NUMBERS[name] for name in ("root", "one", "half")}
    result = quantized(text, 2, 6, 16, **values | {deep: np.full((1, 1, 1, 1), NUMBERS[deep])})
    assert kernels(result)["Gelu"] == 0
    require_alike(result.exports, samples(2, 6, 16)[:2], 60)
