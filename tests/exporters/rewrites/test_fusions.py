"""A Gelu of codes is one kernel, and a sum in front of a normalization is none with it."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from small_nets import ONE_THREAD, net, run

from amct_lite import ir
from amct_lite.config import QuantConfig
from amct_lite.numerics.metrics import sqnr_db
from amct_lite.pipeline import quantize
from amct_lite.result import QuantizeResult
from amct_lite.runtime import optimized

CONVS = """net (float[N,3,12,12] x) => (float[N,8,12,12] y) {
  [stem] a = Conv <pads=[1,1,1,1]> (x, w) GELU [last] e = Conv (b, wl) [end] y = Relu (e) }"""
NUMBERS = {
    "root": np.float32(2**0.5), "rough": np.float32(1.4142), "inverse": np.float32(0.5**0.5), "one": np.float32(1),
    "two": np.float32(2), "half": np.array([0.5], np.float32), "other": np.float32(1.5),
}  # fmt: skip
WEIGHTS = {"w": (8, 3, 3, 3), "wl": (8, 8, 1, 1)}
BEHIND = "d = Div (a, root) f = Erf (d) p = Add (f, one) m = Mul (a, p) b = Mul (m, half)"
IN_FRONT = "h = Mul (a, half) d = Mul (inverse, a) f = Erf (d) p = Add (one, f) b = Mul (h, p)"
DIVIDED = "h = Div (a, two) d = Div (a, rough) f = Erf (d) p = Add (f, one) b = Mul (p, h)"


def samples(*shape: int) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    return [{"x": rng.standard_normal(shape).astype(np.float32) * 3} for _ in range(8)]


def quantized(text: str, *shape: int, opset: int = 17, **values: object) -> QuantizeResult:
    model = net(text, opset=opset, **values)
    config = QuantConfig(target="ort")
    return quantize(ir.load_bytes(model.SerializeToString()), samples(*shape), config, options=ONE_THREAD)


def with_gelu(gelu: str, opset: int = 17) -> QuantizeResult:
    return quantized(CONVS.replace("GELU", gelu), 1, 3, 12, 12, opset=opset, **WEIGHTS, **NUMBERS)


def kernels(result: QuantizeResult) -> Counter[str]:
    assert result.exports.deploy is not None
    return Counter(node.op_type for node in optimized(result.exports.deploy).graph)


@pytest.mark.parametrize("opset", [13, 17, 21])
@pytest.mark.parametrize("gelu", [BEHIND, IN_FRONT, DIVIDED])
def test_a_gelu_of_codes_is_one_kernel(gelu: str, opset: int) -> None:
    result = with_gelu(gelu, opset)
    found = kernels(result)
    assert (found["Gelu"], found["QLinearConv"]) == (1, 1)
    assert not {"Erf", "Div", "Mul"} & found.keys()
    assert result.exports.deploy is not None
    for sample in samples(1, 3, 12, 12)[:2]:
        ours, theirs = (run(model, sample)[0] for model in (result.exports.deploy, result.exports.fake_quant))
        assert sqnr_db(theirs, ours) > 35  # a code at a tie may be one apart


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


TOKENS = """net (float[BATCH,6,32] x) => (float[BATCH,6,32] y) {
  [first] a = MatMul (x, w) [bias] b = Add (a, v) [skip] s = Add (SUM) NORM [last] y = MatMul (n, wl) }"""
NORM = "[norm] n = LayerNormalization (s, g, v)"
PARTS = """m = ReduceMean <axes=[-1]> (s) d = Sub (s, m) q = Pow (d, two) r = ReduceMean <axes=[-1]> (q) t = Add (r, tiny)
  u = Sqrt (t) k = Div (d, u) o = Mul (k, g) [shift] n = Add (o, v)"""
TENSORS = {
    "w": (32, 32),
    "wl": (32, 32),
    "v": (32,),
    "g": (32,),
    "c": (1, 6, 32),
    "two": np.float32(2),
    "tiny": np.float32(1e-5),
}


@pytest.mark.parametrize("norm", [NORM, PARTS])
@pytest.mark.parametrize("batch", ["1", "N"])
@pytest.mark.parametrize("total", ["b, x", "c, b"])
def test_a_sum_in_front_of_a_normalization_stays_apart_from_it(norm: str, batch: str, total: str) -> None:
    text = TOKENS.replace("BATCH", batch).replace("NORM", norm).replace("SUM", total)
    result = quantized(text, 1, 6, 32, **TENSORS)
    found = kernels(result)
    assert (found["LayerNormalization"], found["SkipLayerNormalization"]) == (1, 0)
    deploy = result.exports.deploy
    assert deploy is not None
    assert {node.op_type for node in deploy.graph if node.name in {"first", "bias", "skip"}} == {"MatMulIntegerToFloat", "Sum"}
    for sample in samples(1, 6, 32)[:2]:
        np.testing.assert_array_equal(run(deploy, sample)[0], run(result.exports.fake_quant, sample)[0])
