"""Lanes: a value runs from its maker to its last reader, and frees its lane there."""

from __future__ import annotations

from amct_lite import ir
from amct_lite.page.graph import steps_of

BRANCHES = """<ir_version: 8, opset_import: ["": 17]>
net (float[4] x) => (float[4] y, float[4] a) {
  [a] a = Relu(x)
  [b] b = Neg(a)
  [c] c = Abs(a)
  [d] y = Add(b, c)
}"""


def test_branches_part_and_meet() -> None:
    steps = {step.name: step for step in steps_of(ir.from_text(BRANCHES), {"d"}, {"c"})}
    assert (steps["a"].lane, steps["a"].into, steps["a"].out) == (0, (0,), ())  # the output `a` has the name of its node


def test_each_node_stands_below_what_it_reads() -> None:
    steps = steps_of(ir.from_text(BRANCHES.replace("[a] a", "[first] a")), {"d"}, {"c"})
    drawn = {step.name: step for step in steps}
    first, b, c, d = (drawn[name] for name in ("first", "b", "c", "d"))
    assert first.out == (0,)
    assert (b.into, b.passing, b.lane, b.out) == ((0,), (0,), 1, (1,))  # `a` goes on, so `b` branches off
    assert (c.into, c.passing) == ((0,), (0, 1))  # `a` is also an output, read at the end
    assert set(d.into) == {b.out[0], c.out[0]}
    assert [step.name for step in steps] == ["x", "first", "b", "c", "d", "y", "a"]
    assert [drawn[name].state for name in ("b", "c", "d", "y")] == ["", "float", "quantized", "edge"]
