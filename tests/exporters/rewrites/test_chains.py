"""Chains of Reshape and Transpose on codes become one Transpose of whole pixels, and move the same values."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_nets import ONE_THREAD, net
from test_channels import ORT, exported

from amct_lite import ir
from amct_lite.exporters.rewrites.axes import Axes, Move
from amct_lite.pipeline import quantize
from amct_lite.runtime import optimized

PATCHES = """net (float[1,3,8,8] x) => (float[1,8,8,8] y) {
  [stem] a = Conv <pads=[1,1,1,1]> (x, ws) [act] b = Relu (a)
  [rows] c = Reshape (b, pairs) [beside] d = Transpose <perm=[0,2,1,3]> (c) [cut] e = Reshape (d, windows)
  [order] f = Transpose <perm=[0,3,2,1]> (e) [tokens] g = Reshape (f, flat)
  [mix] h = MatMul (g, m) [soft] i = Tanh (h)
  [t0] j = Reshape (i, spread) [t1] k = Transpose <perm=[0,3,2,1]> (j) [t2] l = Reshape (k, apart)
  [t3] m2 = Transpose <perm=[0,2,1,3]> (l) [t4] n = Reshape (m2, whole) [back] o = Conv (n, we)
  [last] p = Relu (o) [end] y = Conv (p, we) }"""
SIZES = {
    "ws": (8, 3, 3, 3),
    "m": (8, 8),
    "we": (8, 8, 1, 1),
    "pairs": np.array([32, 2, 4, 2]),
    "windows": np.array([1, 8, 16, 4]),
    "flat": np.array([4, 16, 8]),
    "spread": np.array([1, 4, 16, 8]),
    "apart": np.array([32, 4, 2, 2]),
    "whole": np.array([1, 8, 8, 8]),
}
TOKENS = """net (float[1,3,16,16] x) => (float[1,16,4] y) {
  [patch] a = Conv <strides=[4,4]> (x, w) [flat] b = Reshape (a, rows) [order] c = Transpose <perm=[0,2,1]> (b)
  [mix] y = MatMul (c, m) }"""
PIECES = {"w": (8, 3, 4, 4), "m": (8, 4), "rows": np.array([1, 8, 16])}


def orders(model: ir.Model) -> list[list[int]]:
    """Of the Transposes as ONNX Runtime runs them."""
    return [list(ir.attribute(node, "perm", ())) for node in optimized(model).graph if node.op_type == "Transpose"]


def test_windows_are_cut_and_joined_by_one_transpose_each() -> None:
    _, after = exported(PATCHES, SIZES, 3, (8, 8))
    found = orders(after)
    assert len(found) == 4, "two of them put channels behind pixels and in front again"
    whole = [perm for perm in found if perm[-1] == len(perm) - 1]
    assert len(whole) == 2, "one to cut, one to join, of whole pixels"


def test_pixels_that_become_tokens_stay_where_they_are() -> None:
    _, after = exported(TOKENS, PIECES)
    assert all(sorted(perm) == list(range(4)) for perm in orders(after)), "only the image itself is turned"


@pytest.mark.parametrize(
    "text",
    [
        PATCHES.replace("(float[1,8,8,8] y)", "(float[1,8,8,8] y, float[1,8,16,4] e)"),
        PATCHES.replace("[mix]", "[also] z = Abs (d) [mix]").replace("[1,8,8,8] y)", "[1,8,8,8] y, float[A,B,C,D] z)"),
    ],
    ids=["output", "reader"],
)
def test_a_chain_that_is_seen_in_the_middle_gives_the_same(text: str) -> None:
    exported(text, SIZES, 3, (8, 8))


def test_in_front_of_a_float_convolution_a_chain_stays() -> None:
    """It reads channels first: blocks of pixels would be put back code by code."""
    text = PATCHES[: PATCHES.index("[back]")] + "[back] y = Conv (n, we) }"
    _, after = exported(text, SIZES, 3, (8, 8))
    names = {str(node.name) for node in after.graph}
    assert {"t1", "t3"} <= names
    assert not any(name.startswith("t4.moved") for name in names)


def test_open_sizes_stay_as_they_are() -> None:
    text = TOKENS.replace("[1,3,16,16]", "[N,3,H,W]").replace("[1,16,4] y", "[N,T,4] y")
    model = ir.load_bytes(net(text, **PIECES | {"rows": np.array([0, 8, -1])}).SerializeToString())
    samples = [{"x": np.random.default_rng(0).standard_normal((1, 3, size, size)).astype(np.float32)} for size in (16, 20)]
    deploy = quantize(model, samples, ORT, options=ONE_THREAD).exports.deploy
    assert deploy is not None
    assert not any("moved" in str(node.name) for node in deploy.graph)


def factors(draw: st.DrawFn, size: int) -> list[int]:
    """Sizes whose product is `size`, with ones among them."""
    found: list[int] = []
    while size > 1:
        part = draw(st.sampled_from([n for n in range(1, size + 1) if size % n == 0]))
        found.append(part)
        size //= part
        if len(found) > 5:
            return [*found, size]
    return found


@given(st.data())
def test_any_chain_is_one_transpose_between_two_reshapes(data: st.DataObject) -> None:
    """Whatever is cut and turned, in whichever order the axes lie before and behind."""
    dims = tuple(data.draw(st.lists(st.sampled_from([1, 2, 3, 4, 6]), min_size=1, max_size=4)))
    before = after = np.arange(prod(dims)).reshape(dims)
    axes = Axes(dims)
    for _ in range(data.draw(st.integers(1, 4))):
        if data.draw(st.booleans()):
            perm = data.draw(st.permutations(range(after.ndim)))
            axes.transpose(perm)
            after = after.transpose(perm)
        else:
            sizes = factors(data.draw, after.size)
            if not axes.reshape(sizes):
                return
            after = after.reshape(sizes)
    front, behind = (data.draw(st.permutations(range(array.ndim))) for array in (before, after))
    move = axes.move(front, behind)
    moved = before.transpose(front).reshape(move.apart).transpose(move.perm)
    np.testing.assert_array_equal(moved.reshape(-1), after.transpose(behind).reshape(-1))
    if move.perm and move.perm[-1] == len(move.perm) - 1:
        assert move.block == move.apart[-1]


@pytest.mark.parametrize(
    ("sizes", "perm", "apart", "order"),
    [
        ((2, 3, 4), (0, 1, 2), (24,), (0,)),
        ((2, 3, 4), (2, 0, 1), (6, 4), (1, 0)),
        ((2, 3, 4, 5), (1, 2, 3, 0), (2, 60), (1, 0)),
        ((2, 3, 4, 5), (2, 3, 0, 1), (6, 20), (1, 0)),
        ((3, 1, 8), (1, 0, 2), (24,), (0,)),
    ],
)
def test_neighbours_that_stay_together_are_one_block(
    sizes: tuple[int, ...], perm: tuple[int, ...], apart: tuple[int, ...], order: tuple[int, ...]
) -> None:
    """However many axes they are; an axis of size 1 parts nothing."""
    axes = Axes(sizes)
    axes.transpose(perm)
    assert axes.move(range(len(sizes)), range(len(sizes))) == Move(apart, order)


@pytest.mark.parametrize(("sizes", "perm"), [([64, 8], [0, 2, 1]), ([4, 4, 4, 8], [0, 4, 1, 2, 3])], ids=["signals", "volumes"])
def test_what_is_joined_for_other_convolutions_than_of_images(sizes: list[int], perm: list[int]) -> None:
    text = f"""net (float[1,3,8,8] x) => (float[A,B,{"C," * (len(sizes) - 2)}D] y) {{
      [stem] a = Conv <pads=[1,1,1,1]> (x, w) [flat] b = Reshape (a, rows) [order] c = Transpose <perm=[0,2,1]> (b)
      [apart] d = Reshape (c, parts) [back] e = Transpose <perm={perm}> (d) [mix] f = Conv (e, m) [last] y = Conv (f, m) }}"""
    values = {"w": (8, 3, 3, 3), "rows": np.array([1, 8, 64]), "parts": np.array([1, *sizes])}
    exported(text, values | {"m": (8, 8, *[1] * (len(sizes) - 1))}, 3, (8, 8))
