"""Numbers put elsewhere: tensors joined and cut, axes split and swapped, pixels to channels and back."""

from __future__ import annotations

import numpy as np
from graph import Graph

from image_parts.activations import activation
from image_parts.elementwise import with_constant
from image_parts.weights import draw_channels, draw_weight


def reshape(g: Graph, x: str, shape: tuple[int, ...]) -> str:
    literal = g.opset >= 14 and g.chance(0.1) and 0 not in shape
    return g.op("Reshape", x, g.ints(*shape), allowzero=1 if literal else None)


def concat(g: Graph) -> None:
    x = g.pick(g.choose(4, 4, 4, 3, 2))
    shape, axis = g.shape(x), g.choose(1, 1, 1, 1, len(g.shape(x)) - 1)

    def fits(array: np.ndarray) -> bool:
        alike = [a == b or i == axis for i, (a, b) in enumerate(zip(array.shape, shape, strict=False))]
        return array.ndim == len(shape) and all(alike)

    others = g.tensors(fits)
    joined = [x, *(others[int(g.rng.integers(len(others)))] for _ in range(g.choose(1, 1, 2)))]
    if g.chance(0.12):
        joined.append(g.constant(g.rng.normal(size=shape)))
    g.op("Concat", *(joined[i] for i in g.rng.permutation(len(joined))), axis=axis - len(shape) if g.chance(0.3) else axis)


def split(g: Graph) -> None:
    x = g.pick(None, lambda array: array.ndim > 1 and array.shape[1] > 1)
    wide = g.shape(x)[1]
    parts = 2 if wide % 2 == 0 and g.chance(0.7) else g.choose(2, 3)
    parts = min(parts, wide)
    at = sorted(g.rng.choice(np.arange(1, wide), parts - 1, replace=False))
    sizes = [int(size) for size in np.diff([0, *at, wide])] if wide % parts or g.chance(0.4) else [wide // parts] * parts
    found = g.split(x, sizes, 1)
    for part in found:
        if g.chance(0.4):
            g.choose(activation, with_constant)(g, part)
    if g.chance(0.3):
        g.op("Concat", *reversed(found), axis=1)


def slice_of(g: Graph) -> None:
    x = g.pick(None, lambda array: array.ndim > 1)
    shape = g.shape(x)
    axis = int(g.rng.integers(1, len(shape)))
    begin, step = g.choose(0, 0, 1, -2), g.choose(1, 1, 1, 2)
    end = g.choose(2**31, 2**31, -1, shape[axis] // 2)
    if g.chance(0.1):
        begin, end, step = -1, -(2**31), -1
    numbers = [g.ints(number) for number in (begin, end, axis - len(shape) if g.chance(0.3) else axis, step)]
    g.op("Slice", x, *(numbers[:3] if step == 1 and g.chance(0.5) else numbers))


def shuffle(g: Graph) -> None:
    """Channels of groups mixed."""
    groups = g.choose(2, 2, 3, 4)
    x = g.pick(4, lambda array: array.shape[1] % groups == 0 and array.shape[1] > groups)
    _, c, h, w = g.shape(x)
    apart = reshape(g, x, (g.choose(0, -1), groups, c // groups, h, w))
    reshape(g, g.op("Transpose", apart, perm=[0, 2, 1, 3, 4]), (g.choose(0, -1), c, h, w))


def pixels(g: Graph) -> None:
    """Channels to pixels or back, named or spelled."""
    kind = g.choose("depth", "depth", "space", "spelled", "spelled_back")
    if kind in {"depth", "spelled"}:
        x = g.pick(4, lambda array: array.shape[1] % 4 == 0 and array.size < 30_000)
    else:
        x = g.pick(4, lambda array: array.shape[2] % 2 == 0 and array.shape[3] % 2 == 0)
    _, c, h, w = g.shape(x)
    if kind == "depth":
        g.op("DepthToSpace", x, blocksize=2, mode=g.choose("DCR", "CRD"))
    elif kind == "space":
        g.op("SpaceToDepth", x, blocksize=2)
    elif kind == "spelled":
        first = g.chance(0.5)
        parts = reshape(g, x, (0, 2, 2, c // 4, h, w) if first else (0, c // 4, 2, 2, h, w))
        reshape(
            g, g.op("Transpose", parts, perm=[0, 3, 4, 1, 5, 2] if first else [0, 1, 4, 2, 5, 3]), (0, c // 4, 2 * h, 2 * w)
        )
    else:
        parts = reshape(g, x, (0, c, h // 2, 2, w // 2, 2))
        reshape(g, g.op("Transpose", parts, perm=g.choose([0, 3, 5, 1, 2, 4], [0, 1, 3, 5, 2, 4])), (0, 4 * c, h // 2, w // 2))


def windows(g: Graph) -> None:
    """An image cut into windows of tokens, a layer on them, and put together."""
    x = g.pick(4, lambda array: array.shape[2] % 4 == 0 and array.shape[3] % 4 == 0)
    n, c, h, w = g.shape(x)
    cut = reshape(g, g.op("Transpose", x, perm=[0, 2, 3, 1]), (n, h // 4, 4, w // 4, 4, c))
    tokens = reshape(g, g.op("Transpose", cut, perm=[0, 1, 3, 2, 4, 5]), (-1, 16, c))
    out = draw_channels(g)
    tokens = g.op("MatMul", tokens, draw_weight(g, (c, out), axis=1))
    back = reshape(g, tokens, (n, h // 4, w // 4, 4, 4, out))
    image = reshape(g, g.op("Transpose", back, perm=[0, 1, 3, 2, 4, 5]), (n, h, w, out))
    g.op("Transpose", image, perm=[0, 3, 1, 2])


def move(g: Graph) -> None:
    x = g.pick(None, lambda array: array.ndim > 1)
    shape = g.shape(x)
    kind = g.choose("transpose", "flatten", "rows", "unsqueeze", "squeeze", "reverse", "tile", "gather", "expand")
    if kind == "transpose":
        g.op("Transpose", x, perm=[0, *(int(i) + 1 for i in g.rng.permutation(len(shape) - 1))])
    elif kind == "flatten":
        g.op("Flatten", x, axis=1)
    elif kind == "rows":
        reshape(g, x, (0, -1))
    elif kind == "unsqueeze":
        g.unsqueeze(x, g.choose(1, 2, -1))
    elif kind == "squeeze":
        axes = [i for i, size in enumerate(shape) if size == 1 and i > 0]
        if axes:
            g.squeeze(x, *axes)
    elif kind == "tile":
        g.op("Tile", x, g.ints(1, *(g.choose(1, 1, 2) for _ in shape[1:])))
    elif kind == "gather":
        g.op("Gather", x, g.ints(*g.rng.integers(shape[1], size=g.choose(1, 3, 4))), axis=1)
    elif kind == "expand":
        g.op("Expand", x, g.ints(*[1] * len(shape)))


def sizes(g: Graph) -> None:
    """A shape that is computed from a shape."""
    x = g.pick(4)
    g.op("Reshape", x, g.op("Concat", batch_size(g, x), g.ints(-1), axis=0))


def batch_size(g: Graph, x: str) -> str:
    """How many samples there are, from the shape of `x`."""
    return g.cut(g.op("Shape", x), 0, 1, 0)
