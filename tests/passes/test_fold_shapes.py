"""Sizes that follow from the inputs become numbers; open ones, and what the file alone claims, do not. Not a result changes."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import apply, ops
from small_nets import run as execute

from amct_lite import ir
from amct_lite.passes import fold_shapes

CONSTANTS = """int64 zero = {0}, int64 one = {1}, int64 last = {-1}, int64[2] some = {1,-1}, int64[1] at0 = {0},
  int64[1] at1 = {1}, int64[1] at3 = {3}, int64[1] back = {-1}, int64[1] beyond = {-9}, int64[1] rest = {-1}"""
RESHAPED = "t = Concat<axis=0>(h, rest) y = Reshape(x, t)"
FIXED, BATCH, HEIGHT = "2,3,4,5", "N,3,4,5", "N,3,H,5"


def parse(text: str, image: str, claims: str = "") -> ir.Model:
    """claims: types of tensors between, as the file has them."""
    return ir.from_text(f"""<ir_version: 8, opset_import: ["": 17]>
      net (float[{image}] x, bool[M] mask) => (float[u,v] y) <{claims}{CONSTANTS}> {{ {text} }}""")


def feeds() -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(0).standard_normal((2, 3, 4, 5), np.float32), "mask": np.array([True, True])}


def folded(text: str, image: str, claims: str = "") -> tuple[int, list[str]]:
    """How much was, and the operators left; the results are compared."""
    exact = execute(parse(text, image, claims), feeds())
    model, report = apply(fold_shapes.run, parse(text, image, claims))
    np.testing.assert_array_equal(execute(model, feeds()), exact)
    return report.changed, ops(model)


@pytest.mark.parametrize(
    ("asked", "image"),
    [
        ("s = Shape(x) h = Slice(s, at0, at1)", FIXED),
        ("h = Shape<start=1, end=2>(x)", FIXED),
        ("h = Shape<start=-1>(x)", BATCH),
        ("s = Size(x) h = Unsqueeze(s, at0)", FIXED),
        ("s = Shape(x) g = Gather(s, one) h = Unsqueeze(g, at0)", HEIGHT),
        ("s = Shape(x) g = Gather(s, last) h = Unsqueeze(g, at0)", HEIGHT),
        ("s = Shape(x) g = Gather(s, some) h = ReduceProd(g)", HEIGHT),
        ("s = Shape(x) g = Slice(s, at1, at3, at0, at1) h = ReduceProd(g)", BATCH),
        ("s = Shape(x) g = Slice(s, back, at0, at0, rest) h = ReduceProd(g)", BATCH),
    ],
)
def test_known_sizes_are_numbers_and_what_they_give(asked: str, image: str) -> None:
    assert folded(f"{asked} {RESHAPED}", image) == (1, ["Reshape"])


def test_what_is_reshaped_by_them_has_known_sizes_too() -> None:
    text = """s = Shape(x) h = Slice(s, at1, at3) t = Concat<axis=0>(h, rest) z = Reshape(x, t)
      r = Shape(z) g = Gather(r, one) d = Unsqueeze(g, at0) u = Concat<axis=0>(rest, d) y = Reshape(z, u)"""
    assert folded(text, FIXED) == (2, ["Reshape", "Reshape"])


@pytest.mark.parametrize(
    ("asked", "image"),
    [
        ("s = Shape(x) g = Gather(s, zero) h = Unsqueeze(g, at0)", BATCH),
        ("s = Shape(x) g = Slice(s, at1, at3) h = ReduceProd(g)", HEIGHT),
        ("s = Shape(x) g = Slice(s, back, beyond, at0, rest) h = Slice(g, at0, at1)", BATCH),
        ("s = Size(x) h = Unsqueeze(s, at0)", BATCH),
        ("s = Shape(x) m = Size(mask) from = Unsqueeze(m, at0) g = Slice(s, from, at3, at0) h = ReduceProd(g)", BATCH),
    ],
)
def test_open_sizes_are_asked_for_at_run_time(asked: str, image: str) -> None:
    changed, left = folded(f"{asked} {RESHAPED}", image)
    assert changed == 0
    assert {"Shape", "Size"} & set(left)


def test_what_the_file_claims_of_a_tensor_is_no_fact() -> None:
    text = "c = Compress<axis=0>(x, mask) s = Shape(c) h = Slice(s, at0, at1) t = Concat<axis=0>(h, rest) y = Reshape(c, t)"
    changed, left = folded(text, FIXED, claims="float[1,3,4,5] c, ")
    assert (changed, left.count("Shape")) == (0, 1)


def test_a_shape_that_is_an_output_stays() -> None:
    model = ir.from_text("""<ir_version: 8, opset_import: ["": 17]> net (float[2,3] x) => (int64[2] y) { y = Shape(x) }""")
    model, report = apply(fold_shapes.run, model)
    assert (report.changed, ops(model)) == (0, ["Shape"])
