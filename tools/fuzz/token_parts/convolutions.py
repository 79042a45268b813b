"""Blocks of Convs along the tokens."""

from __future__ import annotations

from math import sqrt

import numpy as np

from token_parts.activations import activation
from token_parts.net import Net


def convolved(net: Net, x: str) -> str:
    """Convs along the tokens in a row, with pads, pools and sums between."""
    batch, length, channels = net.sizes(x)
    y = net.transpose(x, 0, 2, 1)
    for _ in range(net.random.choice([1, 2, 3])):
        way = net.random.randrange(6)
        if way == 0:
            y = net.known(net.op(net.choose("Relu", "LeakyRelu", "Sigmoid"), y), *net.dims[y])
        kernel, apart = net.random.choice([1, 3]), net.random.choice([1, 2])
        side, pads = kernel // 2 * apart, {}
        padded = y
        if net.chance(0.4):
            padded = net.op("Pad", y, net.ints(0, 0, 2 * side, 0, 0, 0), *([net.number(0.0, ())] if net.chance(0.5) else []))
        else:
            pads = {"pads": [side, side]}
        bias = [net.weight(channels, spread=0.2)] if net.chance(0.7) else []
        w = net.weight(channels, channels, kernel, spread=1 / sqrt(kernel * channels))
        found = net.known(net.op("Conv", padded, w, *bias, dilations=[apart], **pads), batch, channels, length)
        if way == 1:
            found = net.known(net.op("Add", *net.shuffled(y, found)), *net.dims[found])
        elif way == 2:
            pool = net.choose("MaxPool", "AveragePool")
            found = net.known(net.op(pool, found, kernel_shape=[3], pads=[1, 1]), *net.dims[found])
        elif way == 3:
            wide = net.op("Concat", found, y, axis=1)
            w = net.weight(channels, 2 * channels, 1, spread=1 / sqrt(2 * channels))
            found = net.known(net.op("Conv", wide, w), *net.dims[found])
        elif way == 4:
            scaled = net.op("Mul", found, net.const(net.rng.uniform(0.5, 2, (channels, 1)), np.float32))
            found = net.known(net.op("Add", scaled, net.weight(1, channels, 1, spread=0.2)), *net.dims[found])
        y = found
    return net.transpose(y, 0, 2, 1)


def frontend(net: Net, x: str) -> str:
    """A Conv along the tokens."""
    channels, kernel = net.width(x), net.random.choice([1, 3, 5])
    group = net.random.choice([1, 1, channels])
    turned = net.transpose(x, 0, 2, 1)
    bias = [net.weight(channels, spread=0.2)] if net.chance(0.7) else []
    weight = net.weight(channels, channels // group, kernel, spread=1 / sqrt(kernel * channels // group))
    result = net.known(
        net.op("Conv", turned, weight, *bias, pads=[kernel // 2] * 2, group=group), net.dims[x][0], channels, net.dims[x][1]
    )
    return net.transpose(activation(net, result), 0, 2, 1)
