"""An Expand goes where its readers would repeat the values themselves, and nowhere else; not a number changes."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import apply, ops
from small_nets import run as execute

from amct_lite import ir
from amct_lite.passes import infer_shapes, remove_expand

HEADER = '<ir_version: 8, opset_import: ["": 17]>'
TOLD = "e = Expand(g, shape)"
MEASURED = "s = Shape(x) e = Expand(g, s)"


def parse(text: str, expand: str, image: str = "2,3,4,4") -> ir.Model:
    """x is an image, g a gate of it."""
    model = ir.from_text(f"""{HEADER} net (float[{image}] x) => (float[a,b,c,d] y) <int64[4] shape = {{2,3,4,4}}> {{
      g = GlobalAveragePool(x) {expand} {text} }}""")
    infer_shapes.run(model)
    return model


@pytest.mark.parametrize(
    ("reader", "expand", "image"),
    [
        ("y = Mul(x, e)", TOLD, "2,3,4,4"),
        ("y = Sub(e, x)", MEASURED, "2,3,4,4"),
        ("z = Div(e, x) y = Add(z, e)", TOLD, "2,3,4,4"),
        ("y = Mul(x, e)", MEASURED, "N,3,H,W"),
        ("y = Mul(x, e)", MEASURED, "?,3,?,?"),
    ],
)
def test_sums_and_products_with_a_tensor_as_large_repeat_it_themselves(reader: str, expand: str, image: str) -> None:
    feeds = {"x": np.random.default_rng(0).standard_normal((2, 3, 4, 4), np.float32)}
    exact = execute(parse(reader, expand, image), feeds)
    model, report = apply(remove_expand.run, parse(reader, expand, image))
    assert report.changed == 1
    assert "Expand" not in ops(model)
    np.testing.assert_array_equal(execute(model, feeds), exact)


@pytest.mark.parametrize(
    "reader",
    ["y = Add(e, e)", "y = Mul(g, e)", "y = Sigmoid(e)", "z = Mul(x, e) y = Concat<axis=1>(z, e)", "y = Identity(e)"],
    ids=["itself", "a smaller one", "no product", "another reader too", "an output"],
)
def test_where_others_need_the_values_it_stays(reader: str) -> None:
    model, report = apply(remove_expand.run, parse(reader, TOLD))
    assert (report.changed, ops(model).count("Expand")) == (0, 1)


@pytest.mark.parametrize(
    ("expand", "image"),
    [(TOLD, "N,3,H,W"), ("two = Concat<axis=0>(x, x) s = Shape(two) e = Expand(g, s)", "?,3,?,?")],
    ids=["told", "of another tensor, of unknown sizes as well"],
)
def test_sizes_that_are_not_known_to_be_equal_are_not(expand: str, image: str) -> None:
    model = parse("y = Mul(x, e)", expand, image)
    assert (remove_expand.run(model).changed, ops(model).count("Expand")) == (0, 1)
