"""Two tensors, or a tensor and a constant, number by number; and what changes nothing at all."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from graph import Graph
from onnx import TensorProto

from image_parts.activations import activation


def combine(g: Graph) -> None:
    """Two tensors of which one fits the other."""
    x = g.pick(None)
    shape = g.shape(x)

    def fits(array: np.ndarray) -> bool:
        return array.ndim == len(shape) and all(a in {1, b} for a, b in zip(array.shape[1:], shape[1:], strict=True))

    others = [name for name in g.tensors(fits) if name != x] or [x]
    y = others[int(g.rng.integers(len(others)))]
    g.op(g.choose("Add", "Add", "Add", "Mul", "Mul", "Sub", "Max", "Min"), *g.either_way(x, y))


def with_constant(g: Graph, x: str | None = None) -> str:
    x = x or g.pick(None)
    op_type = g.choose("Add", "Add", "Mul", "Mul", "Sub", "Div", "Pow")
    if op_type == "Pow":
        return g.op("Pow", x, g.constant(2.0))
    shape = g.shape(x)
    channel = (shape[1], *[1] * (len(shape) - 2)) if len(shape) > 1 else (1,)
    drawn = g.choose((), (), (1,), channel, channel, (1, *channel), shape[1:], (1,) * len(shape))
    array = g.rng.normal(size=drawn) * g.choose(0.1, 1, 1, 5)
    if g.chance(0.15):
        array = np.full(drawn, g.choose(0.0, 1.0, -1.0, 0.5, 255.0, 1 / 255))
    if op_type == "Div":
        array = np.where(np.abs(array) < 0.1, 0.5, array)
    operands = (x, g.constant(array))
    return g.op(op_type, *(operands if op_type == "Div" and g.chance(0.9) else g.either_way(*operands)))


def identity(g: Graph) -> None:
    """What changes nothing, or next to nothing."""
    x = g.pick(None)
    rank = len(g.shape(x))
    turn = list(g.rng.permutation(rank))
    steps: list[Callable[[], object]] = [
        lambda: g.op("Identity", x),
        lambda: g.op("Dropout", x),
        lambda: g.op("Mul", x, g.constant(1.0)),
        lambda: g.op("Add", x, g.constant(0.0)),
        lambda: g.op("Cast", x, to=TensorProto.FLOAT),
        lambda: g.op("Relu", g.op("Relu", x)),
        lambda: g.op("Transpose", g.op("Transpose", x, perm=turn), perm=list(np.argsort(turn))),
        lambda: g.op("Pad", x, g.ints(*[0] * 2 * rank)),
        lambda: g.op("Concat", x, axis=min(1, rank - 1)),
        lambda: g.op("Neg", g.op("Neg", x)),
        lambda: g.cut(x, 0, 2**31, 0),
        lambda: g.op("Sum", x),
        lambda: g.op("Max", x, g.constant(-3.0)),
        lambda: g.op("MaxPool", x, kernel_shape=[1] * max(rank - 2, 1)),
    ]
    g.choose(*steps)()


def where(g: Graph) -> None:
    """Of two tensors, or a tensor and a number, by what a third says."""
    x = g.pick(None)
    other = g.choose(g.constant(0.0), g.constant(-1.0), x, activation(g, x))
    asked = g.op(g.choose("Greater", "Less"), g.pick(None) if g.chance(0.3) else x, g.constant(0.3))
    g.op("Where", asked, *g.either_way(x, other))
