"""Several layers in a row, as known networks have them: residuals, gates, units of a ShuffleNet, a classifier."""

from __future__ import annotations

from graph import Graph

from image_parts.activations import activation
from image_parts.convolutions import conv
from image_parts.moves import reshape
from image_parts.norms import batch_norm
from image_parts.pooling import mean
from image_parts.products import gemm
from image_parts.weights import draw_bias, draw_weight, pick_small


def conv_block(g: Graph) -> None:
    y = conv(g)
    if g.chance(0.5):
        y = batch_norm(g, y)
    if g.chance(0.8):
        activation(g, y)


def residual(g: Graph) -> None:
    x = pick_small(g)
    c = g.shape(x)[1]
    y = g.op("Conv", x, draw_weight(g, (c, c, 3, 3)), *draw_bias(g, c), pads=[1] * 4)
    if g.chance(0.7):
        y = activation(g, y)
    if g.chance(0.5):
        y = g.op("Conv", y, draw_weight(g, (c, c, 1, 1)), *draw_bias(g, c))
    y = g.op("Add", *g.either_way(x, y))
    if g.chance(0.6):
        activation(g, y)


def inverted(g: Graph) -> None:
    """Wide, depthwise, narrow."""
    x = pick_small(g)
    c = g.shape(x)[1]
    wide = min(c * g.choose(2, 3), 40)
    y = activation(g, g.op("Conv", x, draw_weight(g, (wide, c, 1, 1)), *draw_bias(g, wide)))
    y = activation(g, g.op("Conv", y, draw_weight(g, (wide, 1, 3, 3)), *draw_bias(g, wide), group=wide, pads=[1] * 4))
    y = g.op("Conv", y, draw_weight(g, (c, wide, 1, 1)), *draw_bias(g, c))
    if g.chance(0.6):
        g.op("Add", y, x)


def dense(g: Graph) -> None:
    """Joined, normalized, convolved, as in a DenseNet."""
    x = pick_small(g)
    for _ in range(g.choose(1, 2)):
        y = g.op("Relu", batch_norm(g, x)) if g.chance(0.8) else batch_norm(g, x)
        grown = g.choose(4, 8)
        y = g.op("Conv", y, draw_weight(g, (grown, g.shape(x)[1], 3, 3)), pads=[1] * 4)
        x = g.op("Concat", x, y, axis=1)
    if g.chance(0.7):
        batch_norm(g, x)


def gate(g: Graph) -> None:
    """Squeeze and excitation."""
    x = pick_small(g)
    c = g.shape(x)[1]
    squeezed = g.op("GlobalAveragePool", x) if g.chance(0.5) else g.mean(x, 2, 3)
    inner = max(1, c // g.choose(1, 2, 4))
    if g.chance(0.7):
        y = g.op("Conv", squeezed, draw_weight(g, (inner, c, 1, 1)), *draw_bias(g, inner))
        y = activation(g, y) if g.chance(0.5) else g.op("Relu", y)
        y = g.op("Conv", y, draw_weight(g, (c, inner, 1, 1)), *draw_bias(g, c))
    else:
        y = g.op("Gemm", reshape(g, squeezed, (-1, c)), draw_weight(g, (c, inner), axis=1))
        y = g.op("Gemm", g.op("Relu", y), draw_weight(g, (inner, c), axis=1), g.constant(g.rng.normal(size=c)))
        y = reshape(g, y, (-1, c, 1, 1))
    y = g.op("HardSigmoid", y) if g.chance(0.4) else g.op("Sigmoid", y)
    product = g.op("Mul", *g.either_way(x, y))
    if g.chance(0.2):
        g.op("Add", product, x)


def shuffled(g: Graph) -> None:
    """The unit of a ShuffleNet: half of the channels through layers, joined, shuffled; perhaps more than once."""
    x = g.pick(4, lambda array: array.shape[1] % 2 == 0 and array.size <= 30_000)
    for _ in range(g.choose(1, 2, 3)):
        c, h, w = g.shape(x)[1:]
        half = c // 2
        if g.opset < 13 or g.chance(0.5):
            kept, y = g.split(x, [half, half], 1)
        else:
            ends = [[g.ints(n) for n in (first, end, 1)] for first, end in ((0, half), (half, c))]
            kept, y = (g.op("Slice", x, *numbers) for numbers in ends)
        y = g.op("Relu", g.op("Conv", y, draw_weight(g, (half, half, 1, 1)), *draw_bias(g, half)))
        y = g.op("Conv", y, draw_weight(g, (half, 1, 3, 3)), *draw_bias(g, half), group=half, pads=[1] * 4)
        y = g.op("Conv", y, draw_weight(g, (half, half, 1, 1)), *draw_bias(g, half))
        y = g.op("Concat", kept, g.op("Relu", y), axis=1)
        apart = reshape(g, y, (0, 2, half, h, w))
        x = reshape(g, g.op("Transpose", apart, perm=[0, 2, 1, 3, 4]), (0, c, h, w))
    conv(g, x)


def head(g: Graph) -> None:
    """A classifier."""
    y = mean(g)
    rank = len(g.shape(y))
    if rank > 2:
        y = g.op("Flatten", y, axis=1) if g.chance(0.6) else reshape(g, y, (0, -1))
    y = gemm(g)
    if g.chance(0.4):
        g.op("Softmax", y, axis=1)
