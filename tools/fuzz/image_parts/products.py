"""Products of matrices: with weights, as Gemm or MatMul, and of an image with itself."""

from __future__ import annotations

from graph import Graph

from image_parts.moves import reshape
from image_parts.weights import draw_channels, draw_weight, pick_small


def gemm(g: Graph) -> str:
    x = g.pick(2)
    wide, out, turned = g.shape(x)[1], draw_channels(g), g.chance(0.5)
    w = draw_weight(g, (out, wide) if turned else (wide, out), axis=0 if turned else 1, fan_in=wide)
    numbers = {"alpha": 0.5} if g.chance(0.1) else {}
    numbers |= {"beta": 2.0} if g.chance(0.1) else {}
    if g.chance(0.3):
        y = g.op("MatMul", x, g.op("Transpose", w, perm=[1, 0]) if turned else w)
        return g.op("Add", *g.either_way(y, g.constant(g.rng.normal(size=out)))) if g.chance(0.6) else y
    shape = g.choose((out,), (1, out), (1,), ())
    bias = [g.constant(g.rng.normal(size=shape))] if g.chance(0.7) else []
    return g.op("Gemm", x, w, *bias, transB=int(turned), **numbers)


def matmul(g: Graph) -> None:
    """Pixels as rows, a product, and back."""
    x = pick_small(g)
    _, c, h, w = g.shape(x)
    out = draw_channels(g)
    rows = g.op("Transpose", reshape(g, x, (0, c, -1)), perm=[0, 2, 1])
    y = g.op("MatMul", rows, draw_weight(g, (c, out), axis=1))
    if g.chance(0.5):
        y = g.op("Add", *g.either_way(y, g.constant(g.rng.normal(size=out))))
    reshape(g, g.op("Transpose", y, perm=[0, 2, 1]), (0, out, h, w))


def products(g: Graph) -> None:
    """Channels by channels, as in an attention of an image."""
    x = pick_small(g)
    rows = reshape(g, x, (0, g.shape(x)[1], -1))
    scores = g.op("MatMul", rows, g.op("Transpose", rows, perm=[0, 2, 1]))
    y = g.op("MatMul", g.op("Softmax", scores, axis=2), rows)
    reshape(g, y, (0, *g.shape(x)[1:]))
