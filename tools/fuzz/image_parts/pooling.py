"""What changes how many pixels there are: pads, pools, means and Resize."""

from __future__ import annotations

from graph import Graph

from image_parts.moves import batch_size
from image_parts.weights import pick_small


def pad(g: Graph, x: str | None = None) -> str:
    x = x or pick_small(g)
    rank = len(g.shape(x))
    ends = [0, 0, *(g.choose(0, 1, 2) for _ in range(rank - 2)), 0, 0, *(g.choose(0, 1, 2) for _ in range(rank - 2))]
    if g.chance(0.15):
        ends[1] = 1
    if g.chance(0.1):
        ends[rank + 1] = 2
    if g.chance(0.08):
        ends[2] = -1
    mode = g.choose("constant", "constant", "constant", "reflect", "edge")
    value = [g.constant(g.choose(0.0, 0.0, 1.0, -0.7, -10.0))] if mode == "constant" and g.chance(0.7) else []
    return g.op("Pad", x, g.ints(*ends), *value, mode=mode)


def pool(g: Graph, x: str | None = None) -> str:
    x = x or pick_small(g, 4 if g.chance(0.95) else g.choose(3, 5))
    spatial = len(g.shape(x)) - 2
    op_type = g.choose("MaxPool", "AveragePool", "AveragePool", "LpPool")
    kernel = [g.choose(2, 2, 3, 3, 5, 1)] * spatial if g.chance(0.85) else [g.choose(1, 2, 3) for _ in range(spatial)]
    strides = g.choose(None, [2] * spatial, [1] * spatial, [g.choose(1, 2, 3) for _ in range(spatial)])
    attributes: dict[str, object] = {"kernel_shape": kernel, "strides": strides}
    kind = g.rng.random()
    if kind < 0.4:
        attributes["pads"] = [size // 2 for size in kernel] * 2
    elif kind < 0.55:
        attributes["pads"] = [g.choose(0, size // 2) for size in [*kernel, *kernel]]
    elif kind < 0.7:
        attributes["auto_pad"] = g.choose("SAME_UPPER", "SAME_LOWER", "VALID")
    if op_type != "LpPool" and g.chance(0.25):
        attributes["ceil_mode"] = 1
    if op_type == "AveragePool" and g.chance(0.4):
        attributes["count_include_pad"] = 1
    if (op_type == "MaxPool" and g.chance(0.1)) or (op_type == "AveragePool" and g.opset >= 19 and g.chance(0.1)):
        attributes["dilations"] = [2] * spatial
    return g.op(op_type, x, **attributes)


def mean(g: Graph, x: str | None = None) -> str:
    """Over all pixels, in one of its forms."""
    x = x or g.pick(4)
    if g.chance(0.45):
        return g.op(g.choose("GlobalAveragePool", "GlobalAveragePool", "GlobalMaxPool"), x)
    axes = g.choose([2, 3], [-1, -2], [2, 3], [2], [3], [1], [1, 2, 3])
    op_type = g.choose("ReduceMean", "ReduceMean", "ReduceMean", "ReduceMax", "ReduceSum")
    return g.reduce(op_type, x, axes, keepdims=g.choose(0, 1))


def resize(g: Graph) -> None:
    x = g.pick(4, lambda array: array.size <= 12_000)
    mode = g.choose("nearest", "nearest", "nearest", "linear", "cubic")
    way = g.choose("half_pixel", "asymmetric", "asymmetric", "align_corners", "pytorch_half_pixel")
    rounding = {"nearest_mode": g.choose("floor", "round_prefer_floor", "ceil")} if mode == "nearest" else {}
    empty = g.constant([])
    if g.chance(0.75):
        factors = g.choose([1, 1, 2, 2], [1, 1, 2, 2], [1, 1, 3, 2], [1, 1, 0.5, 0.5], [1, 1, 1.5, 2], [1, 1, 1, 1])
        g.op("Resize", x, empty, g.constant(factors), mode=mode, coordinate_transformation_mode=way, **rounding)
        return
    _, c, h, w = g.shape(x)
    pixels = g.ints(c, g.choose(2 * h, h + 3, 7), g.choose(2 * w, w, 5))
    sizes = g.op("Concat", batch_size(g, x), pixels, axis=0)
    g.op("Resize", x, empty, empty, sizes, mode=mode, coordinate_transformation_mode=way, **rounding)
