"""Functions of single numbers: as one operator, or spelled in several as exporters do it."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt

import numpy as np

from token_parts.net import Net


def activation(net: Net, x: str) -> str:
    return net.known(net.random.choice(ACTIVATIONS)(net, x), *net.dims[x])


def gelu_erf(net: Net, x: str) -> str:
    root = net.choose(sqrt(2), 1.4142, 1.41421354)
    inner = net.op("Div", x, net.number(root)) if net.chance(0.6) else net.op("Mul", x, net.number(1 / root))
    return _gelu_end(net, x, net.op("Erf", inner))


def gelu_tanh(net: Net, x: str) -> str:
    way = net.random.randrange(3)
    if way == 0:
        cube = net.op("Pow", x, net.number(3.0))
    elif way == 1:
        cube = net.op("Mul", net.op("Mul", x, x), x)
    else:
        cube = net.op("Mul", x, net.op("Mul", x, x))
    total = net.op("Add", *net.shuffled(x, net.op("Mul", *net.shuffled(cube, net.number(0.044715)))))
    scaled = net.op("Mul", *net.shuffled(total, net.number(net.choose(sqrt(2 / np.pi), 0.7978845608, 0.79788))))
    return _gelu_end(net, x, net.op("Tanh", scaled))


def _gelu_end(net: Net, x: str, inner: str) -> str:
    """Halves and products in one of the orders seen; now and then one that makes no Gelu."""
    one = net.number(net.choose(1.0, 1.0, 1.0, 1.0, 1.01))
    half = net.number(net.choose(0.5, 0.5, 0.5, 0.5, 0.4))
    total = net.op("Add", *net.shuffled(inner, one))
    way = net.random.randrange(4)
    if way == 0:
        return net.op("Mul", *net.shuffled(net.op("Mul", *net.shuffled(x, total)), half))
    if way == 1:
        return net.op("Mul", *net.shuffled(net.op("Mul", *net.shuffled(x, half)), total))
    if way == 2:
        return net.op("Mul", *net.shuffled(x, net.op("Mul", *net.shuffled(total, half))))
    return net.op("Mul", *net.shuffled(x, net.op("Add", net.op("Mul", inner, half), half)))


def silu(net: Net, x: str) -> str:
    return net.op("Mul", *net.shuffled(x, net.op("Sigmoid", x)))


def quick_gelu(net: Net, x: str) -> str:
    return net.op("Mul", x, net.op("Sigmoid", net.op("Mul", x, net.number(1.702))))


def doubled(net: Net, x: str) -> str:
    """A Gelu of a Gelu, or of what is near to one."""
    return gelu_erf(net, gelu_tanh(net, x)) if net.chance(0.5) else gelu_tanh(net, net.op("Mul", x, net.number(0.5)))


def gelu_node(net: Net, x: str) -> str:
    return net.op("Gelu", x, approximate=net.choose("none", "tanh")) if net.opset >= 20 else gelu_erf(net, x)


def hard_swish(net: Net, x: str) -> str:
    return net.op("HardSwish", x) if net.opset >= 14 else net.op("Mul", x, net.op("HardSigmoid", x))


def mish(net: Net, x: str) -> str:
    return net.op("Mul", x, net.op("Tanh", net.op("Softplus", x)))


def bounded(net: Net, x: str) -> str:
    return net.op("Clip", x, net.number(net.choose(-1.0, 0.0), ()), net.number(net.choose(1.0, 6.0), ()))


def plain(op_type: str, **attributes: object) -> Callable[[Net, str], str]:
    return lambda net, x: net.op(op_type, x, **attributes)


ACTIVATIONS: tuple[Callable[[Net, str], str], ...] = (
    *(gelu_erf, gelu_erf, gelu_tanh, gelu_tanh, gelu_node, silu, quick_gelu, hard_swish, mish, bounded),
    *(plain("Relu"), plain("Relu"), plain("Tanh"), plain("Sigmoid"), plain("LeakyRelu", alpha=0.1), plain("HardSigmoid")),
    doubled,
    *(plain("Elu"), plain("Erf"), plain("Softplus"), plain("Identity")),
)
