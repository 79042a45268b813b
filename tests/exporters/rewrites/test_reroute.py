"""Channel shuffles vanish into the weights of who reads them, and depthwise layers get whole blocks of channels on the way."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from small_nets import ONE_THREAD, net, require_equal
from test_channels import ORT, exported, weight_shapes

from amct_lite import ir
from amct_lite.pipeline import quantize
from amct_lite.runtime import optimized

SHUFFLE = """[{0}p] {0}1 = Reshape ({1}, apart) [{0}t] {0}2 = Transpose <perm=[0,2,1,3,4]> ({0}1)
  [{0}j] {0}3 = Reshape ({0}2, whole)"""
UNITS = f"""net (float[N,3,8,8] x) => (float[N,5,h,w] y) {{
  [left] a = Conv (x, wa, ba) [right] b = Conv (x, wb) [first] c = Concat <axis=1> (a, b) {SHUFFLE.format("d", "c")}
  [cut] e, f = Split <axis=1> (d3, halves) [up] g = Conv (f, wg) [gr] g2 = Relu (g)
  [dw] h = Conv <group=6, pads=[1,1,1,1]> (g2, wh, bh) [down] i = Conv (h, wi, bi) [again] j = Concat <axis=1> (e, i)
  {SHUFFLE.format("k", "j")}
  [stride] l = Conv <group=12, strides=[2,2], pads=[1,1,1,1]> (k3, wl, bl) [point] m = Conv (l, wm)
  [beside] n = Conv <strides=[2,2]> (k3, wn) [sum] o = Concat <axis=-3> (m, n) [last] p = Conv (o, wp) [end] y = Relu (p) }}"""
VALUES: dict[str, object] = {
    "wa": (6, 3, 1, 1), "ba": (6,), "wb": (6, 3, 1, 1), "wg": (6, 6, 1, 1), "wh": (6, 1, 3, 3), "bh": (6,), "wi": (6, 6, 1, 1),
    "bi": (6,), "wl": (12, 1, 3, 3), "bl": (12,), "wm": (8, 12, 1, 1), "wn": (4, 12, 1, 1), "wp": (5, 12, 1, 1),
    "apart": np.array([0, 2, 6, 8, 8]), "whole": np.array([0, 12, 8, 8]), "halves": np.array([6, 6]),
}  # fmt: skip


def operators(text: str, values: dict[str, object]) -> Counter[str]:
    """Of the model for ONNX Runtime, which was run beside the fake-quant model and is equal."""
    return Counter(node.op_type for node in exported(text, values, 3, (8, 8))[1].graph)


def test_shuffled_channels_are_read_as_they_were_computed() -> None:
    """Of two units in a row, the second of which passes on what the first gave, before a depthwise layer and others."""
    found = operators(UNITS, VALUES)
    assert not {"Reshape", "Transpose"} & set(found)
    assert found["Concat"] == 3, "one for each set of channels that is read"


def test_convolutions_stay_together_on_integers() -> None:
    deploy = exported(UNITS, VALUES, 3, (8, 8))[1]
    found = Counter(node.op_type for node in optimized(deploy).graph)
    assert (found["QLinearConv"], found["Conv"], found["QuantizeLinear"]) == (8, 0, 1)


def test_halves_may_be_slices() -> None:
    text = UNITS.replace(
        "e, f = Split <axis=1> (d3, halves)", "e = Slice (d3, none, some, axis) [other] f = Slice (d3, some, all, axis)"
    )
    bounds = {"none": np.array([0]), "some": np.array([-6]), "all": np.array([2**62]), "axis": np.array([1])}
    assert operators(text, VALUES | bounds)["Transpose"] == 0


def test_a_body_that_reads_shuffled_channels_is_one_more_reader() -> None:
    branches = "then_branch = t () => (q) { q = Sigmoid (k3) }, else_branch = u () => (q) { q = Tanh (k3) }"
    chosen = f"[much] s = ReduceMax <keepdims=0> (x) [is] t = Greater (s, zero) [also] z = If (t) <{branches}>"
    assert operators(also(UNITS, chosen), VALUES | {"zero": np.float32(0)})["Transpose"] == 2


@pytest.mark.parametrize("batch", ["2", "N"])
@pytest.mark.parametrize("opset", [13, 18, 21])
def test_batches_and_opsets(batch: str, opset: int) -> None:
    text = UNITS.replace("float[N,3", f"float[{batch},3")
    samples = [{"x": np.random.default_rng(k).standard_normal((2, 3, 8, 8)).astype(np.float32)} for k in range(4)]
    model = ir.load_bytes(net(text, opset=opset, **VALUES).SerializeToString())
    exports = quantize(model, samples, ORT, options=ONE_THREAD).exports
    assert exports.deploy is not None
    assert not any(node.op_type == "Transpose" for node in exports.deploy.graph)
    require_equal(exports, samples[:1])


GROUPS = f"""net (float[N,3,8,8] x) => (float[N,9,h,w] y) {{
  [stem] a = Conv (x, ws) [sr] b = Relu (a) [squeeze] c = Conv <group=3> (b, wc, bc) [cr] c2 = Relu (c)
  {SHUFFLE.format("d", "c2")} [dw] e = Conv <group=6, pads=[1,1,1,1]> (d3, we, be)
  [expand] f = Conv <group=3> (e, wf, bf) [add] g = Add (b, f) [gr] h = Relu (g) [last] y = Conv (h, wl) }}"""
GROUPED: dict[str, object] = {
    "ws": (9, 3, 1, 1), "wc": (6, 3, 1, 1), "bc": (6,), "we": (6, 1, 3, 3), "be": (6,), "wf": (9, 2, 1, 1), "bf": (9,),
    "wl": (9, 9, 1, 1), "apart": np.array([0, 3, 2, 8, 8]), "whole": np.array([0, 6, 8, 8]),
}  # fmt: skip


def test_groups_that_read_shuffled_channels_become_one() -> None:
    """Those in front are few enough to become one as well, so that the depthwise layer gets a block of sixteen."""
    before, after = exported(GROUPS, GROUPED, 3, (8, 8))
    assert not {"Reshape", "Transpose"} & {node.op_type for node in after.graph}
    assert (weight_shapes(before)["expand"], weight_shapes(after)["expand"]) == ((9, 2, 1, 1), (9, 16, 1, 1))


def also(text: str, reader: str, outputs: str = "float[N,u,v,r] z") -> str:
    """`text` with one more reader, in front of the second shuffle, and one more output."""
    return text.replace("(float[N,5,h,w] y)", f"(float[N,5,h,w] y, {outputs})").replace("[stride]", f"{reader} [stride]")


@pytest.mark.parametrize(
    "reader",
    ["[also] z = Sigmoid (k3)", "[also] z = Conv <pads=[1,1,1,1], group=2> (k3, wz)", "[also] z = Identity (k3)"],
    ids=["no convolution", "groups over pixels", "an output"],
)
def test_a_shuffle_that_others_see_stays(reader: str) -> None:
    """And so does the one in front, channels of which pass through it."""
    assert operators(also(UNITS, reader), VALUES | {"wz": (4, 6, 3, 3)})["Transpose"] == 2


@pytest.mark.parametrize(
    "moved", ["Concat <axis=2> (k3, k3)", "Concat <axis=-1> (k3, k3)", "Slice (k3, none, four, rows)"], ids=str
)
def test_a_shuffle_whose_pixels_are_moved_stays(moved: str) -> None:
    values = {"wz": (4, 12, 1, 1), "none": np.array([0]), "four": np.array([4]), "rows": np.array([2])}
    assert operators(also(UNITS, f"[pixels] q = {moved} [also] z = Conv (q, wz)"), VALUES | values)["Transpose"] == 2


def test_what_has_other_sizes_behind_a_shuffle_is_none() -> None:
    text = f"""net (float[N,3,8,8] x) => (float[N,9,h,w] y) {{ [stem] c = Conv (x, ws) {SHUFFLE.format("d", "c")}
      [point] e = Conv (d3, wp) [end] y = Relu (e) }}"""
    values = {"ws": (6, 3, 1, 1), "wp": (9, 12, 1, 1), "apart": np.array([0, 2, 3, 8, 8]), "whole": np.array([0, 12, 4, 8])}
    assert operators(text, values)["Transpose"] == 1


def test_a_shuffle_whose_parts_are_seen_stays() -> None:
    found = operators(also(UNITS, "[also] z = Sigmoid (k2)", "float[N,u,v,r,s] z"), VALUES)
    assert found["Transpose"] == 2


def test_a_depthwise_layer_that_others_see_stays_as_it_is() -> None:
    assert operators(also(UNITS, "").replace("[point]", "[also] z = Sigmoid (l) [point]"), VALUES)["Transpose"] == 2


@pytest.mark.parametrize("order", [[0, 2, 1, 4, 3], [0, 1, 2, 4, 3]])
def test_what_is_no_shuffle_of_channels_stays(order: list[int]) -> None:
    assert operators(UNITS.replace("perm=[0,2,1,3,4]", f"perm={order}"), VALUES)["Transpose"] == 2


def test_open_sizes_are_left_alone() -> None:
    text = UNITS.replace("float[N,3,8,8] x", "float[N,3,H,W] x")
    assert operators(text, VALUES | {"apart": np.array([0, 2, 6, 8, -1]), "whole": np.array([0, 12, 8, -1])})["Transpose"] == 2


GHOST = """net (float[N,3,16,16] x) => (float[N,9,h,w] y) {
  [stem] a = Conv <pads=[1,1,1,1]> (x, ws) [sr] b = Relu (a) [primary] c = Conv (b, wp, bp) [pr] d = Relu (c)
  [cheap] e = Conv <group=12, pads=[1,1,1,1]> (d, wc, bc) [cr] f = Relu (e) [both] g = Concat <axis=1> (d, f)
  [stride] h = Conv <group=24, strides=[2,2], pads=[1,1,1,1]> (g, wh, bh) [point] i = Conv (h, wi) [end] y = Relu (i) }"""
GHOSTS = {"ws": (9, 3, 3, 3), "wp": (12, 9, 1, 1), "bp": (12,), "wc": (12, 1, 3, 3), "bc": (12,)} | {
    "wh": (24, 1, 3, 3),
    "bh": (24,),
    "wi": (9, 24, 1, 1),
}


@pytest.mark.parametrize("without", ["", ", bc", ", bh"])
def test_a_depthwise_layer_beside_what_it_reads_gets_whole_blocks(without: str) -> None:
    """Whoever reads both reads the channels of zeros of both."""
    after = exported(GHOST.replace(without, "") if without else GHOST, GHOSTS)[1]
    shapes = weight_shapes(after)
    assert (shapes["primary"], shapes["cheap"]) == ((16, 9, 1, 1), (16, 1, 3, 3))
    assert (shapes["stride"], shapes["point"]) == ((32, 1, 3, 3), (9, 32, 1, 1))


@pytest.mark.parametrize(("size", "computed"), [(16, 16), (8, 12)], ids=["enough pixels", "few"])
def test_channels_of_zeros_are_cut_off_for_those_who_add(size: int, computed: int) -> None:
    text = (
        GHOST.replace("[stride]", "[add] g2 = Add (g, g) [stride]")
        .replace("(g, wh", "(g2, wh")
        .replace("16,16", f"{size},{size}")
    )
    after = exported(text, GHOSTS, 3, (size, size))[1]
    assert weight_shapes(after)["primary"] == (computed, 9, 1, 1)
    assert weight_shapes(after)["cheap"] == (computed, 1, 3, 3)
    assert weight_shapes(after)["stride"] == ((24, 1, 3, 3))
    assert Counter(node.op_type for node in after.graph)["Slice"] == (2 if computed == 16 else 0)


def test_a_depthwise_layer_of_single_pixels_that_leaves_the_network_sums_up_its_channels() -> None:
    after = exported(also(UNITS, "[also] z = Conv <group=12> (k3, wz)"), VALUES | {"wz": (12, 1, 1, 1)}, 3, (8, 8))[1]
    assert weight_shapes(after)["also"] == (12, 12, 1, 1)
