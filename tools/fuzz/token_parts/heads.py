"""Where a network ends: one result for all tokens, or one for each."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from token_parts.activations import activation
from token_parts.masks import HIDING
from token_parts.net import Net
from token_parts.products import linear


def head(net: Net, x: str) -> None:
    channels = net.width(x)
    if net.chance(0.5):
        result = pooled(net, x)
    else:
        tied = [rows for _, rows, width in net.tables if width == channels]
        result = linear(net, x, net.random.choice([*tied, 7, 12]))
    ending = net.random.random()
    if net.chance(0.15):  # words that must not be said
        unwanted = np.where(net.rng.random(net.width(result)) < 0.3, net.random.choice(HIDING), 0)
        unwanted[0] = 0
        result = net.known(net.op("Add", *net.shuffled(result, net.const(unwanted, np.float32))), *net.dims[result])
        ending = net.random.random() / 5
    if ending < 0.15:
        result = net.known(net.op("Softmax", result, axis=-1), *net.dims[result])
        if net.chance(0.3):
            result = net.known(net.op("Log", result), *net.dims[result])
    elif ending < 0.25 and len(net.dims[result]) > 1:
        result = activation(net, result)
    elif ending < 0.32:
        net.output(net.op("ArgMax", result, axis=-1, keepdims=0), TensorProto.INT64, net.dims[result][:-1])
    net.output(result)


def pooled(net: Net, x: str) -> str:
    batch, _, channels = net.sizes(x)
    way = net.random.randrange(4)
    if way == 0:
        one = net.mean(x, 1, keepdims=0)
    elif way == 1:
        one = net.op("Gather", x, net.const(net.choose(0, -1), np.int64), axis=1)
    elif way == 2:
        one = net.squeeze(net.cut(x, 0, 1, 1), 1)
    else:
        one = net.reduce("ReduceMax", x, [1], keepdims=0)
    one = net.known(one, batch, channels)
    if batch == 1 and net.chance(0.3):  # a vector
        vector = net.squeeze(one, 0)
        outputs = net.random.choice([1, 5])
        way = net.chance(0.5)
        factors = (vector, net.weight(channels, outputs)) if way else (net.weight(outputs, channels), vector)
        return net.known(net.op("MatMul", *factors), outputs)
    return linear(net, one, net.random.choice([2, 10]))
