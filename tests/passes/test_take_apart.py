"""HardSwish, and what was written by hand for it, becomes operators that can be computed on integers one by one."""

import numpy as np
import pytest
from graphs import apply, ops, parse

from amct_lite import ir
from amct_lite.passes.take_apart import LIMIT, run

CONSTANTS = {
    "three": np.float32(3),
    "six": np.float32(6),
    "sixth": np.float32([1 / 6]),
    "zero": np.float32(0),
    "one": np.float32(1),
    "many": np.full((1, 4, 1), 3, np.float32),
    "deep": np.full((1, 1, 1, 1), 3, np.float32),
}
INPUTS = ", ".join(["float[1,4,9] x"] + [f"float {name}" for name in CONSTANTS])


def graph(body: str, **more: np.ndarray) -> ir.Model:
    inputs = ", ".join([INPUTS, *(f"int64[{len(array)}] {name}" for name, array in more.items())])
    return parse(f"g ({inputs}) => (float[1,4,9] y) {{ r = Mul(x, six) {body} }}", **CONSTANTS, **more)


@pytest.mark.parametrize(
    "body",
    [
        "h = HardSwish(r) y = Neg(h)",
        "a = Add(r, three) c = Clip(a, zero, six) m = Mul(r, c) h = Div(m, six) y = Neg(h)",
        "a = Add(three, r) c = Clip(a, zero, six) m = Mul(c, r) h = Mul(m, sixth) y = Neg(h)",
        "a = Add(r, three) c = Clip(a, zero, six) s = Div(c, six) h = Mul(r, s) y = Neg(h)",
        "a = Add(r, three) c = Clip(a, zero, six) s = Mul(sixth, c) h = Mul(s, r) y = Neg(h)",
    ],
)
def test_a_hard_swish_is_a_product_with_a_hard_sigmoid(body: str) -> None:
    """Who reads it reads the same numbers under the same name."""
    after, report = apply(run, graph(body))
    assert (ops(after), report.changed) == (["Mul", "HardSigmoid", "Mul", "Neg"], 1)
    assert [node.inputs[0].name for node in after.graph if node.op_type == "Neg"] == ["h"]
    assert next(node.name for node in after.graph if node.op_type == "HardSigmoid").endswith(".hardsigmoid")


@pytest.mark.parametrize(
    ("body", "bound"),
    [
        ("h = HardSwish(s) y = Neg(h)", -3),
        ("a = Add(s, three) c = Clip(a, zero, six) m = Mul(s, c) h = Div(m, six) y = Neg(h)", -3),
        ("a = Add(three, s) c = Clip(a, zero, six) g = Mul(c, sixth) h = Mul(g, s) y = Neg(h)", -3),
        ("g = HardSigmoid(s) h = Mul(g, s) y = Neg(h)", -2.5),
        ("g = HardSigmoid<alpha=0.25, beta=0.5>(s) h = Mul(s, g) y = Neg(h)", -2),
    ],
)
def test_what_lies_below_its_bound_does_not_count_where_nobody_else_reads_it(body: str, bound: float) -> None:
    """Both factors begin there: the product is 0 from there on."""
    after, _ = apply(run, graph(f"s = Add(r, many) {body}"))
    assert ops(after) == ["Mul", "Add", "Clip", "HardSigmoid", "Mul", "Neg"]
    _, _, clip, gate, product, _ = after.graph
    assert ir.constant_of(clip.inputs[1]) == pytest.approx(bound)
    assert str(clip.name).endswith(LIMIT)
    assert gate.inputs[0] is clip.outputs[0]
    assert set(product.inputs) == {clip.outputs[0], gate.outputs[0]}


@pytest.mark.parametrize(
    "body",
    [
        "s = Add(r, many) h = HardSwish(s) y = Add(h, s)",
        "s = Add(r, many) g = HardSigmoid(s) y = Mul(g, r)",
        "s = Add(r, many) g = HardSigmoid(s) h = Mul(g, s) y = Mul(g, h)",
        "s = Reshape(r, rows) h = HardSwish(s) y = Neg(h)",
        "h = HardSwish(x) y = Neg(h)",
    ],
    ids=["read by another", "a gate of another", "a gate of others, too", "moved", "an input"],
)
def test_elsewhere_what_lies_below_its_bound_stays(body: str) -> None:
    after, _ = apply(run, graph(body, rows=np.array([1, 4, 9])))
    assert "Clip" not in ops(after)


def test_one_that_leaves_the_network_keeps_its_name() -> None:
    assert ops(apply(run, graph("y = HardSwish(r)"))[0]) == ["Mul", "HardSigmoid", "Mul"]
    alone, _ = apply(run, graph("a = Add(r, three) c = Clip(a, zero, six) y = Div(c, six)"))
    assert ops(alone) == ["Mul", "HardSigmoid"]


@pytest.mark.parametrize(
    "body",
    [
        "a = Add(r, three) c = Clip(a, zero, six) y = Div(c, three)",
        "a = Add(r, three) c = Clip(a, one, six) y = Div(c, six)",
        "a = Add(r, three) c = Clip(a, zero) y = Div(c, six)",
        "a = Add(r, many) c = Clip(a, zero, six) y = Div(c, six)",
        "a = Add(r, deep) c = Clip(a, zero, six) y = Div(c, six)",
        "a = Add(r, three) c = Clip(a, zero, six) y = Div(six, c)",
        "a = Add(r, three) c = Clip(a, zero, six) m = Mul(c, three) y = Div(m, six)",
        "a = Add(r, three) c = Clip(a, zero, six) m = Mul(c, c) y = Div(m, six)",
        "a = Add(r, three) c = Clip(a, zero, six) d = Div(c, six) y = Add(d, c)",
        "a = Add(r, three) c = Clip(a, zero, six) d = Div(c, six) y = Add(d, a)",
        "a = Add(r, three) c = Relu(a) y = Div(c, six)",
    ],
)
def test_what_is_something_else_stays(body: str) -> None:
    before = graph(body)
    after, report = apply(run, before)
    assert (ops(after), report.changed) == (ops(before), 0)
