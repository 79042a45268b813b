"""Convs and ConvTransposes with whatever their attributes allow: groups, strides, dilations, pads."""

from __future__ import annotations

from graph import Graph

from image_parts.weights import draw_bias, draw_channels, draw_weight, pick_small


def conv(g: Graph, x: str | None = None, channels: int | None = None) -> str:
    rank = 4 if g.chance(0.93) else g.choose(3, 5)
    x = x or pick_small(g, rank)
    wide, spatial = g.shape(x)[1], len(g.shape(x)) - 2
    group = g.choose(1, 1, 1, 1, wide, wide, 2, 4)
    if wide % group:
        group = 1
    out = channels or (wide * g.choose(1, 1, 1, 2) if group == wide > 1 else draw_channels(g, group))
    if out % group:
        group = 1
    kernel = _kernel(g, spatial)
    dilations = [g.choose(1, 2, 3) for _ in range(spatial)] if g.chance(0.1) else None
    strides = None if g.chance(0.7) else [g.choose(1, 2, 2, 3) for _ in range(spatial)]
    w = draw_weight(g, (out, wide // group, *kernel))
    shape = {"kernel_shape": kernel} if g.chance(0.8) else {}
    return g.op(
        "Conv", x, w, *draw_bias(g, out), group=group, strides=strides, dilations=dilations, **shape, **_pads(g, kernel)
    )


def _kernel(g: Graph, spatial: int) -> list[int]:
    size = g.choose(1, 1, 1, 2, 3, 3, 3, 3, 5, 7)
    if g.chance(0.1):
        return [g.choose(1, size) for _ in range(spatial)]
    return [size] * spatial


def _pads(g: Graph, kernel: list[int]) -> dict[str, object]:
    kind = g.rng.random()
    if kind < 0.6:
        return {"pads": [size // 2 for size in kernel] * 2}
    if kind < 0.75:
        return {}
    if kind < 0.85:
        return {"pads": [int(g.rng.integers(0, size)) for size in [*kernel, *kernel]]}
    return {"auto_pad": g.choose("SAME_UPPER", "SAME_LOWER", "VALID")}


def conv_transpose(g: Graph) -> None:
    x = g.pick(4, lambda array: array.size <= 8_000)
    wide = g.shape(x)[1]
    group = g.choose(1, 1, 1, 2, wide)
    if wide % group:
        group = 1
    if g.chance(0.6):  # it enlarges by its stride
        size, stride, before, behind, more = g.choose(
            (2, 2, 0, 0, 0), (4, 2, 1, 1, 0), (3, 2, 1, 1, 1), (3, 2, 0, 1, 0), (3, 3, 0, 0, 0)
        )
        out = draw_channels(g)
        w = draw_weight(g, (wide, out, size, size), axis=1, fan_in=wide * 2)
        pads = {"pads": [before, before, behind, behind], "output_padding": [more, more]}
        g.op("ConvTranspose", x, w, *draw_bias(g, out), strides=[stride, stride], **pads)
        return
    out, kernel, strides = draw_channels(g, group), [g.choose(1, 2, 3, 4)] * 2, [g.choose(1, 2, 2, 3)] * 2
    extra = {"output_padding": [1, 1]} if strides[0] > 1 and g.chance(0.2) else {}
    pads = {"pads": [g.choose(0, 1) for _ in range(4)]} if g.chance(0.5) else {}
    if g.chance(0.1):
        extra, pads = {}, {"auto_pad": g.choose("SAME_UPPER", "SAME_LOWER")}
    dilations = [2, 2] if g.chance(0.05) else None
    w = draw_weight(g, (wide, out // group, *kernel), axis=1, fan_in=wide * 2)
    g.op(
        "ConvTranspose",
        x,
        w,
        *draw_bias(g, out),
        group=group,
        strides=strides,
        dilations=dilations,
        kernel_shape=kernel,
        **pads,
        **extra,
    )
