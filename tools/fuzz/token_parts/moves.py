"""Blocks that put numbers elsewhere, and back again."""

from __future__ import annotations

from token_parts.activations import activation
from token_parts.net import Net
from token_parts.products import linear


def windows(net: Net, x: str) -> str:
    """Tokens of an image of 4 by 4 in windows of 2 by 2, where there are 16."""
    batch, length, channels = net.sizes(x)
    if length != 16:
        return swapped(net, x)
    width = channels
    y = linear(net, x, width) if net.chance(0.7) else x
    y = net.reshape(net.known(y, *net.dims[x]), batch, 2, 2, 2, 2, width)
    y = net.transpose(y, 0, 1, 3, 2, 4, 5)
    y = linear(net, net.reshape(y, -1, 4, width), width)
    y = activation(net, y)
    y = net.transpose(net.reshape(y, batch, 2, 2, 2, 2, width), 0, 1, 3, 2, 4, 5)
    return linear(net, net.reshape(y, batch, length, width), width)


def swapped(net: Net, x: str) -> str:
    """Moves alone, in more steps than are needed."""
    batch, length, channels = net.sizes(x)
    parts = net.random.choice([part for part in (1, 2, 4) if channels % part == 0])
    apart = net.reshape(x, batch, length, parts, channels // parts)
    apart = net.transpose(apart, *net.random.choice([(0, 2, 1, 3), (0, 1, 3, 2)]))
    if net.chance(0.5):
        apart = net.known(net.squeeze(net.unsqueeze(apart, 0), 0), *net.dims[apart])
    back = (0, 2, 1, 3) if net.dims[apart][2] == length and net.dims[apart][1] == parts else (0, 1, 3, 2)
    apart = net.transpose(apart, *back)
    return net.reshape(apart, batch, length, channels)
