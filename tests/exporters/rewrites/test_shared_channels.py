"""Channels that several layers share grow to whole blocks in all of them: `exported` compares them, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from test_channels import CLIP, MOBILE, PARTS, exported, weight_shapes

from amct_lite import ir

GROWN = {"stem": (16, 4, 3, 3), "dw": (16, 1, 3, 3), "pw": (6, 16, 1, 1)}
LAST = "[pw] e = Conv (d, wp)"
GATED = MOBILE.replace(
    LAST,
    """[pool] p = GlobalAveragePool (d) [down] q = Conv (p, w1, b1) [low1] r = Relu (q) [up] s = Conv (r, w2, b2)
  [gate] g = Sigmoid (s) [times] m = Mul (d, g) [pw] e = Conv (m, wp)""",
)
GATE = {"w1": (4, 12, 1, 1), "w2": (12, 4, 1, 1), "b1": (4,), "b2": (12,)}


@pytest.mark.parametrize(
    "between",
    [
        "[add] h = Add (d, six) [times] m = Mul (d, h) [pw] e = Conv (m, wp)",
        "[half] h = LeakyRelu (d) [times] m = Mul (d, h) [pw] e = Conv (m, wp)",
        "[most] m = MaxPool <kernel_shape=[3,3], pads=[1,1,1,1]> (d) [pw] e = Conv (m, wp)",
    ],
    ids=["number", "activation", "pooling"],
)
def test_channels_that_are_treated_one_by_one_grow_together(between: str) -> None:
    after = exported(MOBILE.replace(LAST, between), PARTS | CLIP)[1]
    assert weight_shapes(after) == GROWN
    assert not any(node.op_type == "Slice" for node in after.graph)


@pytest.mark.parametrize("without", ["", ", b2", ", b1"])
def test_the_layers_of_a_gate_grow_with_what_it_weighs(without: str) -> None:
    shapes = weight_shapes(exported(GATED.replace(without, "") if without else GATED, PARTS | CLIP | GATE)[1])
    assert shapes == GROWN | {"down": (4, 16, 1, 1), "up": (16, 4, 1, 1)}


def test_their_sizes_are_known_afterwards() -> None:
    """Other rewrites ask for them."""
    after = exported(GATED, PARTS | CLIP | GATE)[1]
    grown = {node.name: ir.dims_of(node.outputs[0]) for node in after.graph}
    assert grown["dw"][1:] == (16, 16, 16)
    assert grown["up"][1:] == (16, 1, 1)


@pytest.mark.parametrize(
    ("between", "why"),
    [
        ("[spot] s = Conv (d, one) [gate] g = Sigmoid (s) [times] m = Mul (d, g) [pw] e = Conv (m, wp)", "one for all"),
        ("[add] m = Add (d, b) [pw] e = Conv (m, wp)", "a residual connection"),
        ("[far] m = Add (d, ramp) [pw] e = Conv (m, wp)", "a number for each"),
        ("[turn] t = Transpose <perm=[0,1,3,2]> (d) [times] m = Mul (d, t) [pw] e = Conv (m, wp)", "they are moved"),
    ],
)
def test_what_would_see_the_difference_keeps_its_channels(between: str, why: str) -> None:
    """Less than a block of channels is computed as one all the same, and cut."""
    parts = {"one": (1, 12, 1, 1), "ramp": np.linspace(0, 1, 12, dtype=np.float32).reshape(1, 12, 1, 1)}
    shapes = weight_shapes(exported(MOBILE.replace(LAST, between), PARTS | CLIP | parts)[1])
    assert shapes["pw"] == ((6, 12, 1, 1)), why


def test_channels_that_leave_the_network_stay() -> None:
    text = GATED.replace("(float[N,6,16,16] y)", "(float[N,6,16,16] y, float[N,12,16,16] m)")
    assert weight_shapes(exported(text, PARTS | CLIP | GATE)[1])["up"] == (12, 4, 1, 1)
