"""Normalizations of each token: as one operator, or in parts."""

from __future__ import annotations

import numpy as np

from token_parts.net import Net


def norm(net: Net, x: str) -> str:
    return net.known(net.random.choice([layer_norm, layer_norm, parted_norm, parted_norm, rms_norm])(net, x), *net.dims[x])


def layer_norm(net: Net, x: str) -> str:
    if net.opset < 17:
        return parted_norm(net, x)
    channels = net.width(x)
    scale = net.const(1 + net.rng.standard_normal(channels) * 0.2, np.float32)
    more = [net.weight(channels, spread=0.2)] if net.chance(0.7) else []
    return net.op("LayerNormalization", x, scale, *more, axis=net.choose(-1, len(net.dims[x]) - 1), epsilon=1e-5)


def parted_norm(net: Net, x: str) -> str:
    channels = net.width(x)
    away = net.op("Sub", x, net.mean(x, -1))
    square = net.op("Pow", away, net.number(2.0)) if net.chance(0.6) else net.op("Mul", away, away)
    spread = net.op("Sqrt", net.op("Add", net.mean(square, -1), net.number(1e-5)))
    even = net.op("Div", away, spread)
    scaled = net.op("Mul", even, net.const(1 + net.rng.standard_normal(channels) * 0.2, np.float32))
    return net.op("Add", *net.shuffled(scaled, net.weight(channels, spread=0.2))) if net.chance(0.7) else scaled


def rms_norm(net: Net, x: str) -> str:
    channels = net.width(x)
    square = net.op("Pow", x, net.number(2.0)) if net.chance(0.6) else net.op("Mul", x, x)
    root = net.op("Sqrt", net.op("Add", net.mean(square, -1), net.number(1e-6)))
    even = net.op("Div", x, root) if net.chance(0.5) else net.op("Mul", x, net.op("Reciprocal", root))
    return net.op("Mul", *net.shuffled(even, net.const(1 + net.rng.standard_normal(channels) * 0.2, np.float32)))
