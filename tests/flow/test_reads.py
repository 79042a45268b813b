"""What is left of a plan whose integers flow, when some of it is taken out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_nets import net

from amct_lite.config import QuantConfig
from amct_lite.flow.reads import narrowed_flow
from amct_lite.ir import load_bytes
from amct_lite.loading import load_prepared
from amct_lite.plan import resolve

CONSTANTS = {f"{name}{channels}": np.ones(channels, np.float32) for name in "gbmv" for channels in (8, 16)}
DENSE = """net (float[1,3,8,8] x) => (float[1,8,8,8] y) {
  [stem] a = Conv <pads=[1,1,1,1]> (x, w1) [one] b = Conv <pads=[1,1,1,1]> (a, w8) [cat] c = Concat <axis=1> (a, b)
  [n1] d = BatchNormalization (c, g16, b16, m16, v16) [r1] e = Relu (d) [two] f = Conv (e, w16)
  [cat2] h = Concat <axis=1> (INNER, f) [n2] i = BatchNormalization (h, OUTER) [r2] j = Relu (i) [three] y = Conv (j, LAST) }"""
NUMBERS = CONSTANTS | {"w8": (8, 8, 3, 3), "w16": (8, 16, 1, 1), "w24": (8, 24, 1, 1)}
FLAT = DENSE.replace("INNER", "b").replace("OUTER", "g16, b16, m16, v16").replace("LAST", "w16")
NESTED = DENSE.replace("INNER", "c").replace("OUTER", "g24, b24, m24, v24").replace("LAST", "w24")
NUMBERS |= {f"{name}24": np.ones(24, np.float32) for name in "gbmv"}


@pytest.mark.parametrize("text", [FLAT, NESTED], ids=["flat", "nested"])
def test_of_a_plan_that_loses_nothing_all_is_left(text: str) -> None:
    """A normalization behind a Concat has no read of its own, yet takes part."""
    model = load_prepared(load_bytes(net(text, **NUMBERS).SerializeToString())).prepared
    plan = resolve(QuantConfig(target="ort"), model)
    assert {read.key for read in plan.reads} == {"cat:0", "cat:1", "cat2:1", *(["cat2:0"] if text is FLAT else [])}
    assert narrowed_flow(plan, model) == plan


def test_a_concat_in_float_reads_rounded_what_integer_kernels_write() -> None:
    """The layer behind the second one was taken out: the layers in front can write nothing but integers all the same."""
    model = load_prepared(load_bytes(net(FLAT, **NUMBERS).SerializeToString())).prepared
    plan = resolve(QuantConfig(target="ort"), model)
    fewer = replace(plan, layers=tuple(layer for layer in plan.layers if layer.name != "three"))
    assert {read.key for read in narrowed_flow(fewer, model).reads} == {"cat:0", "cat:1", "cat2:0", "cat2:1"}
