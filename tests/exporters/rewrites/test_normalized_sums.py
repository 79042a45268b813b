"""A sum in front of a normalization is no kernel with it."""

from __future__ import annotations

import numpy as np
import pytest
from small_nets import ONE_THREAD, kernels, net, require_equal, run

from amct_lite import ir
from amct_lite.config import QuantConfig
from amct_lite.pipeline import quantize

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
    rng = np.random.default_rng(0)
    data = [{"x": rng.standard_normal((1, 6, 32)).astype(np.float32) * 3} for _ in range(8)]
    model = ir.load_bytes(net(text, **TENSORS).SerializeToString())
    result = quantize(model, data, QuantConfig(target="ort"), options=ONE_THREAD)
    found = kernels(result)
    assert (found["LayerNormalization"], found["SkipLayerNormalization"]) == (1, 0)
    deploy = result.exports.deploy
    assert deploy is not None
    assert {node.op_type for node in deploy.graph if node.name in {"first", "bias", "skip"}} == {"MatMulIntegerToFloat", "Sum"}
    require_equal(result.exports, data[:2])


@pytest.mark.parametrize(
    ("behind", "skip"),
    [("s = Add (a, v) n = LayerNormalization (s, g, v)", ("first",)), ("s = Add (a, x) n = ReduceMean <axes=[0]> (s)", ())],
    ids=["a bias in float", "no normalization"],
)
def test_other_sums_keep_their_operator(behind: str, skip: tuple[str, ...]) -> None:
    text = f"net (float[B,6,32] x) => (float[C,6,32] y) {{ [first] a = MatMul (x, w) {behind} [last] y = MatMul (n, wl) }}"
    data = [{"x": np.random.default_rng(seed).standard_normal((1, 6, 32)).astype(np.float32)} for seed in range(8)]
    model = net(text, **{name: value for name, value in TENSORS.items() if name in {"w", "wl", "v", "g"}})
    config = QuantConfig(target="ort", skip=skip)
    deploy = quantize(ir.load_bytes(model.SerializeToString()), data, config, options=ONE_THREAD).exports.deploy
    assert deploy is not None
    assert "Sum" not in {node.op_type for node in deploy.graph}


def test_a_sum_of_integers_keeps_its_operator() -> None:
    text = """net (float[1,6,32] x, int32[1,6] k) => (float[1,6,32] y, int32[1,6] z) {
      [first] y = MatMul (x, w) [both] s = Add (k, k) m = ReduceMean <axes=[1]> (s) z = Sub (s, m) }"""
    rng = np.random.default_rng(0)
    numbers = np.arange(6, dtype=np.int32)[None]
    data = [{"x": rng.standard_normal((1, 6, 32)).astype(np.float32), "k": numbers} for _ in range(8)]
    model = ir.load_bytes(net(text, w=(32, 32)).SerializeToString())
    deploy = quantize(model, data, QuantConfig(target="ort"), options=ONE_THREAD).exports.deploy
    assert deploy is not None
    np.testing.assert_array_equal(run(deploy, data[0])[1], 2 * numbers - 5)
