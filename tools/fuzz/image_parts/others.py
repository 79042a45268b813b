"""Operators that no rewrite knows, and others with what is rarely asked of them: what is around them must stay right."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from graph import Graph
from onnx import TensorProto, helper

from image_parts.weights import draw_bias, draw_weight, pick_small


def other(g: Graph) -> None:
    g.choose(*_OTHERS)(g)


# functions of single numbers, and of all along an axis


def _function(g: Graph) -> None:
    x = g.pick(None)
    kinds = [
        "Sin",
        "Cos",
        "Softsign",
        "Selu",
        "Celu",
        "ThresholdedRelu",
        "Exp",
        "Shrink",
        "Atan",
        *(["Mish"] * (g.opset >= 18)),
    ]
    g.op(g.choose(*kinds), x)


def _reduction(g: Graph) -> None:
    x = g.pick(4)
    op_type = g.choose("ReduceL1", "ReduceL2", "ReduceMin", "ReduceSumSquare", "ReduceLogSumExp")
    g.reduce(op_type, x, g.choose([2, 3], [1], [-1]), keepdims=g.choose(0, 1))


def _along(g: Graph) -> None:
    x = g.pick(None, lambda array: array.ndim > 1)
    kind = g.choose("LogSoftmax", "LpNormalization", "CumSum", "TopK")
    if kind == "CumSum":
        g.op(kind, x, g.constant(1, np.int64), reverse=g.choose(0, 1))
    elif kind == "TopK":
        g.ops(kind, x, g.ints(g.choose(1, max(1, g.shape(x)[1] // 2), g.shape(x)[1])), outputs=2, axis=1)
    else:
        g.op(kind, x, axis=1)


# normalizations


def _groups(g: Graph) -> None:
    x = g.pick(4, lambda array: array.shape[1] % 2 == 0)
    wide = 2 if g.opset < 21 else g.shape(x)[1]
    if g.opset < 18 or g.chance(0.3):
        g.op("MeanVarianceNormalization", x)
    else:
        g.op("GroupNormalization", x, *(g.constant(g.rng.random(wide) + 0.5) for _ in range(2)), num_groups=2)


# numbers picked and put


def _picked(g: Graph) -> None:
    x = g.pick(4)
    _, c, h, w = g.shape(x)
    kind = g.choose("GatherElements", "ScatterElements", "GatherND", "Compress", "ReverseSequence", "Split")
    if kind == "GatherElements":
        g.op(kind, x, g.constant(g.rng.integers(c, size=(g.shape(x)[0], c, h, w)), np.int64), axis=1)
    elif kind == "ScatterElements":
        places = g.constant(np.zeros((1, 1, h, w)), np.int64)
        g.op(kind, x, places, g.constant(g.rng.normal(size=(1, 1, h, w))), axis=1)
    elif kind == "GatherND":
        g.op(kind, x, g.constant([[0, 0]], np.int64))
    elif kind == "Compress":
        g.op(kind, x, g.constant(np.arange(c) % 2 == 0, np.bool_), axis=1)
    elif kind == "ReverseSequence":
        g.op(kind, x, g.constant([c] * g.shape(x)[0], np.int64), batch_axis=0, time_axis=1)
    elif g.opset >= 18 and c > 1:
        g.ops(kind, x, outputs=2, axis=1, num_outputs=2)


def _pooled(g: Graph) -> None:
    """With the places of what is largest, which put it back; and pixels between others."""
    x = pick_small(g)
    kind = g.choose("places", "unpooled", "grid", "lp")
    if kind == "places":
        g.ops("MaxPool", x, outputs=2, kernel_shape=[2, 2], strides=[2, 2])
    elif kind == "unpooled":
        largest, places = g.ops("MaxPool", x, outputs=2, kernel_shape=[2, 2], strides=[2, 2])
        g.op("MaxUnpool", largest, places, kernel_shape=[2, 2], strides=[2, 2])
    elif kind == "grid" and g.opset >= 16:
        grid = g.constant(g.rng.uniform(-1, 1, size=(g.shape(x)[0], 5, 6, 2)))
        g.op("GridSample", x, grid, mode="linear" if g.opset >= 20 else "bilinear")
    else:
        g.op("GlobalLpPool", x)


# what is computed where others have a constant


def _computed(g: Graph) -> None:
    x = pick_small(g)
    c = g.shape(x)[1]
    kind = g.choose("weight", "bound", "shared", "einsum", "bias")
    if kind == "weight":
        factor = g.op("GlobalAveragePool", x)
        kernel = g.op("Mul", draw_weight(g, (c, 1, 3, 3)), g.op("Reshape", g.cut(factor, 0, 1, 0), g.ints(c, 1, 1, 1)))
        g.op("Conv", x, kernel, group=c, pads=[1] * 4)
    elif kind == "bound":
        g.op("Clip", x, g.op("ReduceMean", x, keepdims=0))
    elif kind == "shared":
        kernel = draw_weight(g, (c, c, 1, 1))
        g.op("Add", g.op("Conv", x, kernel, *draw_bias(g, c)), g.op("Reshape", g.cut(kernel, 0, 1, 1), g.ints(1, c, 1, 1)))
    elif kind == "bias":
        bias = g.op("Reshape", g.cut(g.op("GlobalMaxPool", x), 0, 1, 0), g.ints(c))
        g.op("Conv", x, draw_weight(g, (c, c, 1, 1)), bias)
    else:
        g.op("Einsum", x, draw_weight(g, (c, 6), axis=1), equation="nchw,cd->ndhw")


def _loop(g: Graph) -> None:
    """Twice the same step."""
    x = g.pick(4)
    shape = [None] * 4
    state, out = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("loop_in", "loop_out"))
    count = helper.make_tensor_value_info("count", TensorProto.INT64, [])
    going, on = (helper.make_tensor_value_info(name, TensorProto.BOOL, []) for name in ("going", "on"))
    nodes = [helper.make_node("Identity", ["going"], ["on"]), helper.make_node("Tanh", ["loop_in"], ["loop_out"])]
    body = helper.make_graph(nodes, "body", [count, going, state], [on, out])
    g.op("Loop", g.constant(2, np.int64), "", x, body=body)


_OTHERS: tuple[Callable[[Graph], None], ...] = (
    *[_function] * 3,
    *[_reduction] * 2,
    *[_along] * 2,
    _groups,
    *[_picked] * 2,
    *[_pooled] * 2,
    *[_computed] * 3,
    _loop,
)
