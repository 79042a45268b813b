"""Attention of the tokens to each other, with masks, positions and a past."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt

import numpy as np
from onnx import TensorProto

from token_parts.masks import MASKS
from token_parts.net import Array, Net, Size, lengths
from token_parts.products import linear


def attention(net: Net, x: str) -> str:
    batch, length, channels = net.sizes(x)
    heads = net.random.choice([size for size in (1, 2, 4) if channels % size == 0])
    width = channels // heads
    q, k, v = _projected(net, x, heads, width)
    keys = length
    if width % 2 == 0 and net.chance(0.25):
        q, k = (_turned(net, net.known(one, batch, heads, length, width)) for one in (q, k))
    if not net.past and net.chance(0.25):
        k, v, keys = _with_past(net, k, v, heads, width)
    early = net.chance(0.4)
    apply = "Mul" if net.chance(0.5) else "Div"
    number = net.number(1 / sqrt(width) if apply == "Mul" else sqrt(width))
    if early:
        q = net.op(apply, q, number)
    if net.opset >= 12 and net.chance(0.2):
        scores = net.op("Einsum", q, k, equation="bhid,bhjd->bhij")
    else:
        scores = net.op("MatMul", q, net.op("Transpose", k, perm=[0, 1, 3, 2]))
    if not early:
        scores = net.op(apply, scores, number)
    net.known(scores, batch, heads, length, keys)
    for _ in range(net.random.choice([0, 1, 1, 1, 2])):
        scores = net.known(net.random.choice(MASKS)(net, scores), *net.dims[scores])
    weights = net.op("Softmax", scores, axis=net.choose(-1, 3))
    if net.opset >= 12 and net.chance(0.15):
        found = net.op("Einsum", weights, v, equation="bhij,bhjd->bhid")
    else:
        found = net.op("MatMul", weights, v)
    if net.chance(0.1):
        net.output(weights, dims=(batch, heads, length, keys))
    joined = net.transpose(net.known(found, batch, heads, length, width), 0, 2, 1, 3)
    return linear(net, net.reshape(joined, batch, length, channels), channels)


def _projected(net: Net, x: str, heads: int, width: int) -> tuple[str, str, str]:
    """Queries, keys and values, each (batch, heads, length, width)."""
    batch, length, channels = net.sizes(x)
    way = net.random.randrange(4)
    if way == 0:  # one product for all, cut behind a Reshape
        every = net.reshape(linear(net, x, 3 * channels), batch, length, 3, heads, width)
        every = net.op("Transpose", every, perm=[2, 0, 3, 1, 4])
        parts = [net.op("Gather", every, net.const(index, np.int64), axis=0) for index in range(3)]
        return parts[0], parts[1], parts[2]
    if way == 1:
        parts = net.split(linear(net, x, 3 * channels), [channels] * 3, 2)
    elif way == 2:
        every = linear(net, x, 3 * channels)
        parts = [net.cut(every, i * channels, (i + 1) * channels, 2) for i in range(3)]
    else:
        parts = [linear(net, x, channels) for _ in range(3)]
    apart = [net.reshape(net.known(part, batch, length, channels), batch, length, heads, width) for part in parts]
    q, k, v = (net.transpose(part, 0, 2, 1, 3) for part in apart)
    return q, k, v


def _turned(net: Net, q: str) -> str:
    """By an angle that follows from the position."""
    length, half = net.dims[q][-2], net.width(q) // 2
    angles = np.outer(np.arange(64), 100.0 ** (-np.arange(half) / half))
    angles = np.concatenate([angles, angles], axis=1)
    positions = net.op("Range", net.const(0, np.int64), net.size(length, whole=True), net.const(1, np.int64))
    cosine, sine = (net.op("Gather", net.const(table, np.float32), positions) for table in (np.cos(angles), np.sin(angles)))
    low, high = net.split(q, [half, half], -1) if net.chance(0.5) else (net.cut(q, 0, half, 3), net.cut(q, half, 10**9, 3))
    other = net.op("Concat", net.op("Neg", high), low, axis=-1)
    return net.known(net.op("Add", net.op("Mul", q, cosine), net.op("Mul", other, sine)), *net.dims[q])


def _with_past(net: Net, k: str, v: str, heads: int, width: int) -> tuple[str, str, Size]:
    net.past = True
    dims = (net.batch, heads, "past", width)

    def fill(sizes: Mapping[str, int]) -> Array:
        return net.rng.standard_normal(lengths(dims, sizes)).astype(np.float32)

    joined = []
    for stem, now in (("key", k), ("value", v)):
        before = net.input(f"past_{stem}", TensorProto.FLOAT, dims, fill)
        joined.append(net.known(net.op("Concat", before, now, axis=-2), net.batch, heads, "whole", width))
        net.output(joined[-1])
    return joined[0], joined[1], "whole"
