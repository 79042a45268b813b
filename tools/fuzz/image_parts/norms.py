"""What brings numbers to one scale: normalizations with weights and without, and Softmax."""

from __future__ import annotations

from graph import Graph

from image_parts.weights import pick_small


def batch_norm(g: Graph, x: str | None = None) -> str:
    x = x or g.pick(g.choose(4, 4, 4, 3, 2))
    wide = g.shape(x)[1]
    scale = g.rng.normal(size=wide) if g.chance(0.4) else g.rng.random(wide) + 0.5
    if g.chance(0.1):
        scale[int(g.rng.integers(wide))] = 0
    numbers = [scale, g.rng.normal(size=wide), g.rng.normal(size=wide), g.rng.random(wide) + 0.3]
    return g.op("BatchNormalization", x, *map(g.constant, numbers))


def other_norms(g: Graph) -> None:
    x = pick_small(g)
    wide = g.shape(x)[1]
    if g.chance(0.5):
        g.op("InstanceNormalization", x, g.constant(g.rng.random(wide) + 0.5), g.constant(g.rng.normal(size=wide)))
    else:
        g.op("LRN", x, size=3)


def softmax(g: Graph) -> None:
    g.op("Softmax", g.pick(None, lambda array: array.ndim > 1), axis=g.choose(1, -1))
