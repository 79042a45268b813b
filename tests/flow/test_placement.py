"""Where integers flow: which tensors are read as integers, share a grid and are bounded, on graphs small enough to follow."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest
from small_nets import net

from amct_lite.flow.placement import Placement, place
from amct_lite.ir import load_bytes
from amct_lite.loading import load_prepared
from amct_lite.types import Gate

WEIGHTS = {"w": (4, 4, 1, 1), "v": (4, 4, 1, 1), "u": (4, 8, 1, 1), "m": (256, 3), "u12": (4, 12, 1, 1)}
WEIGHTS |= {"u4": (4, 4, 1, 1), "from": np.array([0]), "to": np.array([8]), "along": np.array([2])}
WEIGHTS |= {"around": np.array([0, 0, 1, 1, 0, 0, 1, 1]), "nought": np.float32(0), "half": np.float32(0.5)}
WEIGHTS |= {"twice": np.array([1, 1, 2, 2], np.float32)}
WEIGHTS |= {"pixels": np.array([2, 3]), "one": (4, 1, 1, 1)}
WEIGHTS |= {"ones": np.ones(8, np.float32), "o12": np.ones(12, np.float32)}
ALL = {"c1": (0,), "c2": (0,), "c3": (0,), "c4": (0,), "g": (0,)}


def placed(body: str, *, output: str = "float[1,4,8,8] y", left_out: str = "", without: str = "", opset: int = 17) -> Placement:
    """Every Conv called c1 to c4 and every Gemm called g is a quantized layer."""
    text = f"net (float[1,4,8,8] x) => ({output}) {{ {body} }}"
    prepared = load_prepared(load_bytes(net(text, opset=opset, **WEIGHTS).SerializeToString())).prepared
    layers = {str(node.name): ALL[str(node.name)] for node in prepared.graph if node.name in ALL}
    return place(prepared, layers, left_out=left_out.split(), without=without.split())


def test_a_sum_of_two_layers_that_a_layer_reads_is_computed_on_integers() -> None:
    found = placed("[c1] a = Conv (x, w) [c2] b = Conv (a, v) [add] s = Add (b, a) [c3] y = Conv (s, w)")
    assert found.reads == (("add", 0), ("add", 1))
    assert found.grids == {}


def test_a_sum_with_the_input_of_the_network_stays_float() -> None:
    """x is no integer, so the sum would need a QuantizeLinear of its own; the Conv in front still writes integers."""
    found = placed("[c1] a = Conv (x, w) [add] s = Add (a, x) [c2] y = Conv (s, v)")
    assert found.reads == (("add", 0),)


def test_a_sum_that_only_the_outside_reads_stays_float() -> None:
    found = placed("[c1] a = Conv (x, w) [c2] b = Conv (a, v) [add] y = Add (b, a)")
    assert found.reads == (("add", 0), ("add", 1)), "its inputs are written by integer kernels all the same"


def test_a_relu_behind_a_layer_vanishes_and_bounds_the_tensor_behind_it() -> None:
    found = placed(
        "[c1] a = Conv (x, w) [relu] r = Relu (a) [pool] p = AveragePool <kernel_shape=[1,1]> (r) [c2] y = Conv (p, v)"
    )
    assert found.reads == (("pool", 0),)
    assert found.bounds == {"r": (0.0, inf)}


def test_a_relu_whose_input_others_read_stays() -> None:
    """a is rounded for both readers; the Relu is computed in float, behind a DequantizeLinear."""
    found = placed("[c1] a = Conv (x, w) [relu] r = Relu (a) [c2] b = Conv (a, v) [add] s = Add (b, r) [c3] y = Conv (s, w)")
    assert ("relu", 0) in found.reads
    assert ("add", 1) not in found.reads


def test_what_is_only_moved_keeps_one_grid() -> None:
    found = placed("[c1] a = Conv (x, w) [pool] p = MaxPool <kernel_shape=[1,1]> (a) [c2] y = Conv (p, v)")
    assert found.reads == (("pool", 0),)
    assert found.grids == {"a": ("a", "p"), "p": ("a", "p")}


@pytest.mark.parametrize(
    ("moved", "only"),
    [
        ("Pad (a, around)", True),
        ("Pad (a, around, nought)", True),
        ("Pad (a, around, half)", False),
        ('Pad <mode="edge"> (a, around)', False),
        ('Resize <mode="nearest"> (a, , twice)', True),
        ('Resize <mode="linear"> (a, , twice)', False),
    ],
)
def test_what_makes_other_values_than_zeros_is_no_mover(moved: str, only: bool) -> None:
    found = placed(f"[c1] a = Conv (x, w) [moved] p = {moved} [c2] y = Conv (p, v)", output="float[1,4,H,W] y")
    assert found.grids == ({"a": ("a", "p"), "p": ("a", "p")} if only else {})


def test_what_is_moved_is_kept_within_the_bounds_of_those_who_compute_it() -> None:
    body = "[c1] a = Conv (x, w) [relu] r = Relu (a) [pool] p = MaxPool <kernel_shape=[1,1]> (r) BEHIND [c2] y = Conv (BACK, v)"
    found = placed(body.replace("BEHIND", "").replace("BACK", "p"))
    assert found.bounds == {"r": (0.0, inf), "p": (0.0, inf)}
    other = "[c3] b = Conv (x, u4) [cat] c = Concat <axis=2> (p, b) [t] t = Slice (c, from, to, along)"
    found = placed(body.replace("BEHIND", other).replace("BACK", "t"))
    assert {"p", "b", "c"} <= set(found.grids["r"])
    assert found.bounds == {}, "of b nothing is known"


GATED = "[c1] a = Conv (x, w) [gate] h = HardSigmoid <alpha=0.25, beta=0.5> (FROM) [mul] k = Mul (a, h) BEHIND"


def test_a_hard_sigmoid_and_what_it_multiplies_are_told_of_each_other() -> None:
    found = placed(GATED.replace("FROM", "a").replace("BEHIND", "[c2] y = Conv (k, v)"))
    assert found.gates == {"h": Gate("a", 0.25, 2.0)}
    assert found.bounds == {"h": (0.0, 1.0)}


@pytest.mark.parametrize(
    ("source", "behind"),
    [
        ("b", "[c2] y = Conv (k, v)"),  # it is computed of another tensor
        ("a", "[pool] p = MaxPool <kernel_shape=[1,1]> (a) [add] s = Add (k, p) [c2] y = Conv (s, v)"),
        ("a", "[pool] p = MaxPool <kernel_shape=[1,1]> (h) [add] s = Add (k, p) [c2] y = Conv (s, v)"),
    ],
    ids=["of another", "a grid of the factor", "a grid of the gate"],
)
def test_a_hard_sigmoid_whose_codes_others_decide_is_none_of_them(source: str, behind: str) -> None:
    other = "[c3] b = Conv (x, u4)" if source == "b" else ""
    found = placed(f"{other} {GATED.replace('FROM', source).replace('BEHIND', behind)}")
    assert {("mul", 0), ("mul", 1)} <= set(found.reads)
    assert found.gates == {}


def test_a_concat_puts_what_it_joins_on_one_grid() -> None:
    found = placed(
        "[c1] a = Conv (x, w) [c2] b = Conv (a, v) [cat] c = Concat <axis=2> (a, b) [c3] y = Conv (c, w)",
        output="float[1,4,16,8] y",
    )
    assert found.reads == (("cat", 0), ("cat", 1))
    assert found.grids["c"] == ("a", "b", "c")


JOINED = """[c1] a = Conv (x, w) [c2] b = Conv (a, v) [cat] c = Concat <axis=1> (a, b)
  [norm] n = BatchNormalization (c, ones, ones, ones, ones) [relu] r = Relu (n) [c3] d = Conv (r, u) BEHIND"""
MORE = "[more] e = Concat <axis=1> (c, d) [n2]"
EACH_ITS_OWN = (("cat", 0), ("cat", 1))


@pytest.mark.parametrize(
    ("behind", "alone"),
    [
        ("[end] y = Identity (d)", True),
        (f"{MORE} y = BatchNormalization (e, o12, o12, o12, o12)", False),
        (f"{MORE} f = BatchNormalization (e, o12, o12, o12, o12) [r2] h = Relu (f) [c4] y = Conv (h, u12)", True),
        ("[other] e = Softmax (c) [more] y = Concat <axis=1> (e, d)", False),
    ],
    ids=["one normalization", "another one in float", "another one, of more", "a reader of floats"],
)
def test_a_concat_that_normalizations_alone_read_leaves_what_it_joins_their_own_grids(behind: str, alone: bool) -> None:
    found = placed(JOINED.replace("BEHIND", behind), output="float[1,C,8,8] y")
    assert set(EACH_ITS_OWN) <= set(found.reads)
    assert (("norm", 0) in found.reads) is not alone
    assert ("c" in found.grids) is not alone
    assert found.bounds == {"r": (0.0, inf)} | ({"h": (0.0, inf)} if "[r2]" in behind else {})


def test_values_are_rounded_before_they_are_moved_to_a_layer() -> None:
    found = placed("[t] a = Transpose <perm=[0,1,3,2]> (x) [c1] y = Conv (a, w)")
    assert found.reads == (("t", 0),)
    assert found.grids["x"] == ("a", "x")


def test_a_moved_tensor_that_float_needs_too_is_not_rounded_for_it() -> None:
    found = placed("[t] a = Transpose <perm=[0,1,3,2]> (x) [c1] b = Conv (a, w) [add] y = Add (b, a)")
    assert ("t", 0) not in found.reads


def test_movers_between_float_and_float_hold_nobody_up() -> None:
    """What a matrix product wrote is float, and the Softmax wants float: the two in the middle must not carry each other."""
    found = placed(
        "[f] a = Flatten (x) [g] b = Gemm (a, m) [t] c = Transpose <perm=[1,0]> (b) [u] d = Flatten (c) [s] y = Softmax (d)",
        output="float[3,1] y",
    )
    assert found.reads == (("f", 0),)


def test_float_readers_of_what_an_integer_kernel_writes_read_it_rounded() -> None:
    assert placed("[c1] a = Conv (x, w) [s] y = Softmax (a)").reads == (("s", 0),)


def test_a_layer_in_float_never_reads_a_rounded_tensor() -> None:
    """ONNX Runtime would quantize its weights unasked."""
    assert placed("[c1] a = Conv (x, w) [other] y = Conv (a, v)").reads == ()


@pytest.mark.parametrize(
    ("between", "reads"),
    [
        ("[id] p = Sigmoid (a)", [("id", 0)]),
        ("[pool] p = MaxPool <kernel_shape=[1,1]> (a)", []),
        ("[relu] r = Relu (a) [t] t = Transpose <perm=[0,1,3,2]> (r) [pool] p = MaxPool <kernel_shape=[1,1]> (t)", []),
        ("[t] t = Transpose <perm=[0,1,3,2]> (a) [bent] p = LeakyRelu (t)", [("t", 0), ("bent", 0)]),
    ],
)
def test_a_rounded_tensor_is_not_moved_to_a_layer_in_float(between: str, reads: list[tuple[str, int]]) -> None:
    found = placed(f"[c1] a = Conv (x, w) {between} [other] b = Conv (p, v) [c2] y = Conv (b, w)")
    assert list(found.reads) == reads


@pytest.mark.parametrize(("reader", "rounded"), [("d = Relu (s)", True), ("[other] d = Conv (s, v)", False)])
def test_a_sum_that_a_layer_in_float_reads_too_is_computed_in_float(reader: str, rounded: bool) -> None:
    body = f"[c1] a = Conv (x, w) [c2] b = Conv (a, v) [add] s = Add (b, a) [c3] c = Conv (s, w) {reader}"
    found = placed(f"{body} [soft] e = Softmax (s) [sum] y = Sum (c, d, e)")
    assert (("soft", 0) in found.reads) is rounded


@pytest.mark.parametrize("asked", [{"left_out": "s"}, {"without": "add"}])
def test_tensors_and_nodes_can_be_kept_out(asked: dict[str, str]) -> None:
    found = placed("[c1] a = Conv (x, w) [c2] b = Conv (a, v) [add] s = Add (b, a) [c3] y = Conv (s, w)", **asked)
    assert {node for node, _ in found.reads} == ({"add"} if "left_out" in asked else set())


def test_who_asks_for_a_shape_reads_nothing_rounded() -> None:
    """A record with such an entry would be refused: it reads no values."""
    found = placed("[c1] a = Conv (x, w) [s] b = Softmax (a) [size] n = Shape (a) [r] y = Reshape (b, n)")
    assert found.reads == (("s", 0),)


@pytest.mark.parametrize(
    ("mean", "opset", "weight", "integer"),
    [
        ("ReduceMean <axes=[2,3]> (a)", 17, "v", True),
        ("ReduceMean <axes=[-1,2]> (a)", 17, "v", True),
        ("ReduceMean (a, pixels)", 18, "v", True),
        ("ReduceMean <axes=[2]> (a)", 17, "v", False),
        ("ReduceMean <axes=[1]> (a)", 17, "one", False),
        ("ReduceMean (a)", 17, "one", False),
        ("ReduceMean (a, told)", 18, "v", False),
    ],
)
def test_a_mean_is_a_pooling_where_it_is_known_to_be_of_all_pixels(mean: str, opset: int, weight: str, integer: bool) -> None:
    """Those who read floats of it read rounded ones then."""
    told = "[peak] p = ReduceMax <keepdims=0> (x) [index] i = Cast <to=7> (p) [list] told = Unsqueeze (i, from)"
    behind = f"[c2] b = Conv (n, {weight}) [soft] s = Softmax (n) [add] y = Add (b, s)"
    found = placed(f"{told} [c1] a = Conv (x, w) [mean] n = {mean} {behind}", output="float[1,C,H,W] y", opset=opset)
    assert (("soft", 0) in found.reads) is integer


def test_a_dilated_mean_reads_no_rounded_tensor() -> None:
    """ONNX Runtime would make an integer kernel of it, and refuse that."""
    pool = "AveragePool <kernel_shape=[2,2], dilations=[2,2]>"
    body = f"[c1] a = Conv (x, w) [pool] p = {pool} (a) [c2] b = Conv (p, v) [s] y = Softmax (b)"
    assert placed(body, output="float[1,4,6,6] y").reads == (("s", 0),)


@pytest.mark.parametrize("moved", ["Reshape (a, same)", "MaxPool <kernel_shape=[1,1]> (a)"])
def test_what_a_body_reads_is_not_moved_as_integers(moved: str) -> None:
    """ONNX Runtime would die of it, optimizing the fake-quant model."""
    body = f"""[c1] a = Conv (x, w) [same] same = Shape (a) [moved] moved = {moved} [total] t = ReduceSum <keepdims=0> (x)
      [large] l = Cast <to=9> (t)
      [if] y = If (l) <then_branch = yes () => (float[1,4,8,8] p) {{ p = Relu (moved) }},
                       else_branch = no () => (float[1,4,8,8] q) {{ q = Identity (moved) }}>"""
    assert placed(body).reads == ()
