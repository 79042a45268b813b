"""A step whose operator has graphs of its own as bodies: If."""

from __future__ import annotations

import numpy as np
from graph import Graph
from onnx import TensorProto, helper, numpy_helper


def branch(g: Graph) -> None:
    """An If whose bodies read a tensor from outside."""
    x = g.pick(None)
    shape = helper.make_tensor_value_info("inner", TensorProto.FLOAT, [None] * len(g.shape(x)))
    yes = [helper.make_node("Relu", [x], ["inner"])]
    no = [helper.make_node("Neg", [x], ["inner"])]
    weights = []
    if len(g.shape(x)) == 4 and g.chance(0.4):
        c = g.shape(x)[1]
        weights = [numpy_helper.from_array(g.rng.normal(size=(c, c, 1, 1)).astype(np.float32), "inner_w")]
        yes = [helper.make_node("Conv", [x, "inner_w"], ["inner"])]
    known = g.chance(0.5)
    asked = (
        g.constant(g.chance(0.5), np.bool_) if known else g.op("Greater", g.op("ReduceMean", x, keepdims=0), g.constant(0.0))
    )
    then = helper.make_graph(yes, "then", [], [shape], weights)
    other = helper.make_graph(no, "other", [], [shape])
    g.op("If", asked, then_branch=then, else_branch=other)
