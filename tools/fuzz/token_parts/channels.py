"""Blocks that compute with the channels of a token: feed-forward, gates, products side by side."""

from __future__ import annotations

from math import sqrt

import numpy as np
from onnx import TensorProto

from token_parts.activations import activation
from token_parts.net import Net
from token_parts.products import linear


def feed_forward(net: Net, x: str) -> str:
    channels = net.width(x)
    wide = channels * net.random.choice([1, 2, 4])
    inner = activation(net, linear(net, x, wide))
    if net.chance(0.3):
        inner = net.known(net.op("Mul", *net.shuffled(inner, linear(net, x, wide))), *net.dims[x][:-1], wide)
    return linear(net, inner, channels)


def gated(net: Net, x: str) -> str:
    """Both halves of one product."""
    channels = net.width(x)
    both = linear(net, x, 2 * channels)
    if net.chance(0.5):
        left, right = net.split(both, [channels, channels], -1)
    else:
        left, right = net.cut(both, 0, channels, 2), net.cut(both, channels, 2 * channels, -1)
    for half in (left, right):
        net.known(half, *net.dims[x])
    return net.known(net.op("Mul", activation(net, left), right), *net.dims[x])


def parallel(net: Net, x: str) -> str:
    """Two products added, or joined, in front of a third."""
    batch, length, channels = net.sizes(x)
    left, right = linear(net, x, channels), linear(net, x, channels)
    if net.chance(0.4):
        right = net.known(net.op(net.choose("Sigmoid", "Relu", "LeakyRelu", "Tanh"), right), *net.dims[x])
    way = net.random.randrange(6)
    if way < 2:
        both = net.known(net.op(net.choose("Add", "Mul", "Sub"), left, right), *net.dims[x])
    elif way == 2:
        both = net.known(net.op("Concat", left, right, axis=net.choose(-1, 2)), batch, length, 2 * channels)
    elif way == 3:
        both = net.cut(net.op("Concat", left, right, axis=1), 0, 10**9, 1)
        both = net.known(net.op("Slice", both, net.ints(0), net.size(length), net.ints(1)), *net.dims[x])
    elif way == 4:
        one = net.known(net.mean(right, 1), batch, 1, channels)
        one = linear(net, one, channels) if net.chance(0.5) else one
        both = net.known(net.op("Add", *net.shuffled(left, one)), *net.dims[x])
    else:
        both = net.known(net.op(net.choose("Max", "Min", "Sum", "Mean"), left, right, left), *net.dims[x])
    if net.chance(0.4):
        both = net.known(net.op(net.choose("Relu", "LeakyRelu", "Sigmoid"), both), *net.dims[both])
    if net.chance(0.3):
        operator, number = net.random.choice([("Mul", 0.5), ("Add", 1.0), ("Sub", 0.25), ("Div", 3.0), ("Mul", -2.0)])
        both = net.known(net.op(operator, both, net.number(number)), *net.dims[both])
    return linear(net, both, channels)


def squeezed(net: Net, x: str) -> str:
    """A gate for each channel, made of the mean of all tokens."""
    batch, _, channels = net.sizes(x)
    x = linear(net, x, channels)
    kept = net.random.randrange(2)
    mean = net.known(net.mean(x, 1, keepdims=kept), batch, *[1] * kept, channels)
    inner = net.known(net.op("Relu", linear(net, mean, 4)), *net.dims[mean][:-1], 4)
    gate = net.op(net.choose("Sigmoid", "HardSigmoid"), linear(net, inner, channels))
    if not kept:
        gate = net.unsqueeze(gate, 1)
    if net.chance(0.3):
        gate = net.op("Expand", gate, net.op("Shape", x))
    return linear(net, net.known(net.op("Mul", *net.shuffled(x, gate)), *net.dims[x]), channels)


def halved(net: Net, x: str) -> str:
    """A part in float16."""
    channels = net.width(x)
    half = net.cast(x, TensorProto.FLOAT16)
    if net.chance(0.6):
        w = net.const(net.rng.standard_normal((channels, channels)) / sqrt(channels), np.float16)
        half = net.op("MatMul", half, w)
    half = net.op(net.choose("Tanh", "Relu", "Sigmoid"), half)
    return net.known(net.cast(half, TensorProto.FLOAT), *net.dims[x])
