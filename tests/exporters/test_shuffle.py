"""Pixel shuffles spelled as Reshape, Transpose and Reshape: the same values from a DepthToSpace."""

from __future__ import annotations

import numpy as np
import pytest
from test_channels import exported

SHUFFLE = """net (float[N,3,6,10] x) => (float[N,C,H,W] y) {
  [stem] a = Conv <pads=[1,1,1,1]> (x, w) [act] b = Relu (a)
  [split] c = Reshape (b, parts) [order] d = Transpose <perm=ORDER> (c) [join] e = Reshape (d, whole) [end] y = Sigmoid (e) }"""
CRD, DCR = [0, 1, 4, 2, 5, 3], [0, 3, 4, 1, 5, 2]


def operators(parts: list[int], order: list[int], whole: list[int], text: str = SHUFFLE) -> list[str]:
    """Of the model for ONNX Runtime, which was run beside the fake-quant model and is equal."""
    values = {"w": (18, 3, 3, 3), "parts": np.array(parts), "whole": np.array(whole)}
    _, after = exported(text.replace("ORDER", str(order)), values, 3, (6, 10))
    return [node.op_type for node in after.graph]


@pytest.mark.parametrize(
    ("parts", "order"), [([-1, 2, 3, 3, 6, 10], CRD), ([-1, 3, 3, 2, 6, 10], DCR)], ids=["channels first", "channels last"]
)
def test_a_shuffle_becomes_the_operator_of_that_name(parts: list[int], order: list[int]) -> None:
    found = operators(parts, order, [-1, 2, 18, 30])
    assert "DepthToSpace" in found
    assert not {"Reshape", "Transpose"} & set(found)


@pytest.mark.parametrize(
    ("parts", "order", "whole"),
    [
        ([-1, 2, 3, 3, 6, 10], [0, 1, 4, 2, 5, 3], [-1, 2, 6, 90]),
        ([-1, 3, 2, 3, 6, 10], CRD, [-1, 3, 12, 30]),
        ([-1, 2, 3, 3, 10, 6], CRD, [-1, 2, 30, 18]),
        ([-1, 2, 3, 3, 6, 10], [0, 1, 4, 3, 5, 2], [-1, 2, 18, 30]),
    ],
    ids=["joined otherwise", "no square blocks", "other pixels", "other order"],
)
def test_what_is_no_shuffle_stays(parts: list[int], order: list[int], whole: list[int]) -> None:
    assert operators(parts, order, whole).count("Reshape") == 2


def test_a_shuffle_whose_parts_are_seen_stays() -> None:
    text = SHUFFLE.replace("(float[N,C,H,W] y)", "(float[N,C,H,W] y, float[N,a,b,c,d,e] z)").replace(
        "[end]", "[also] z = Sigmoid (c) [end]"
    )
    assert "Transpose" in operators([-1, 2, 3, 3, 6, 10], CRD, [-1, 2, 18, 30], text)
