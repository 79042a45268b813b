"""What a Transpose reads or gives is rounded; ONNX Runtime, optimized, rounds nothing but that."""

from __future__ import annotations

import numpy as np
import pytest
from small_nets import ONE_THREAD, net

from amct_lite import ir
from amct_lite.config import QuantConfig
from amct_lite.pipeline import quantize
from amct_lite.runtime import open_session

SEEN = "net (float[N,5,16] x) => (float[N,5,16] t, float[N,7,5] y) { t = Tanh (x) MOVED [last] y = MatMul (w, u) }"
CAPTURED = """net (float[N,5,16] x) => (float[N,5,16] z, float[N,7,5] y) { t = Tanh (x)
  m = ReduceMax <keepdims=0> (x) c = Greater (m, zero)
  z = If (c) <then_branch = one () => (float[N,5,16] z1) { z1 = Neg (t) },
              else_branch = two () => (float[N,5,16] z2) { z2 = Abs (t) }>
  MOVED [last] y = MatMul (w, u) }"""
AT_ONCE = "u = Transpose <perm=[0,2,1]> (t)"
ASKED = f"s = Shape (t) {AT_ONCE}"
TWICE = f"{AT_ONCE} o = Transpose <perm=[0,2,1]> (t)"
BESIDE = """net (float[N,5,16] x) => (float[N,5,16] o, float[N,7,5] y) {
  a = Transpose <perm=[0,2,1]> (x) t = Tanh (a) MOVED y = MatMul (w, t) }"""
UNDONE = "o = Transpose <perm=[0,2,1]> (t)"
UNDONE_FOR_A_BODY = """v = Transpose <perm=[0,2,1]> (t) m = ReduceMax <keepdims=0> (x) c = Greater (m, zero)
  o = If (c) <then_branch = one () => (float[N,5,16] o1) { o1 = Neg (v) },
              else_branch = two () => (float[N,5,16] o2) { o2 = Abs (v) }>"""
UNDONE_IN_TWO = "v = Transpose <perm=[1,0,2]> (t) o = Transpose <perm=[1,2,0]> (v)"
WITH_MORE = "v = Transpose <perm=[0,2,1]> (t) a = Unsqueeze (v, first) u = Squeeze (a, first)"


def test_one_whose_result_is_not_rounded_is_left_alone() -> None:
    text = """net (float[N,5,16] x) => (float[N,5,16] t, float[N,16,5] o, float[N,5,7] y) {
      t = Tanh (x) u = Transpose <perm=[0,2,1]> (t) o = Neg (u) [last] y = MatMul (x, w) }"""
    data = [{"x": np.random.default_rng(0).standard_normal((1, 5, 16)).astype(np.float32)}]
    model = ir.load_bytes(net(text, w=(16, 7)).SerializeToString())
    fake = quantize(model, data, QuantConfig(target="generic"), options=ONE_THREAD).exports.fake_quant
    assert [node.op_type for node in fake.graph].count("QuantizeLinear") == 1
    assert "Max" not in {node.op_type for node in fake.graph}


@pytest.mark.parametrize(
    ("moved", "also"), [(AT_ONCE, ""), (WITH_MORE, ""), (ASKED, ", int64[3] s"), (TWICE, ", float[N,16,5] o")]
)
@pytest.mark.parametrize("text", [SEEN, CAPTURED])
def test_what_is_seen_in_front_of_it_stays_as_it_is(text: str, moved: str, also: str) -> None:
    text = text.replace("MOVED", moved).replace("y) {", f"y{also}) {{")
    _assert_first_output_is_exact(text)


@pytest.mark.parametrize("moved", [UNDONE, UNDONE_FOR_A_BODY, UNDONE_IN_TWO])
def test_what_it_gives_stays_as_it_is_where_what_it_reads_is_rounded(moved: str) -> None:
    """A Transpose in front is undone by this one, and then stands in front of what is rounded."""
    _assert_first_output_is_exact(BESIDE.replace("MOVED", moved))


def _assert_first_output_is_exact(text: str) -> None:
    values = {"w": (7, 16), "zero": np.float32(0), "first": np.array([0])}
    model = net(text, **{name: value for name, value in values.items() if f"{name})" in text or f"{name}," in text})
    rng = np.random.default_rng(0)
    data = [{"x": rng.standard_normal((1, 5, 16)).astype(np.float32)} for _ in range(8)]
    result = quantize(ir.load_bytes(model.SerializeToString()), data, QuantConfig(target="generic"), options=ONE_THREAD)
    for sample in data:
        ours = open_session(result.exports.fake_quant, ONE_THREAD.runtime).run(sample)
        exact = open_session(result.source.prepared, ONE_THREAD.runtime).run(sample)
        np.testing.assert_array_equal(ours[0], exact[0])
