"""Functions of single numbers: as one operator, or spelled in several as exporters do it."""

from __future__ import annotations

from collections.abc import Callable

from graph import Graph


def activation(g: Graph, x: str | None = None) -> str:
    x = x or g.pick(None)
    kind = g.choose(*_ACTIVATIONS)
    return kind(g, x)


def _clip(g: Graph, x: str) -> str:
    low, high = g.choose(
        ("0", "6"), ("0", ""), ("", "6"), ("-1", "1"), ("0.3", "2"), ("-2", "-0.5"), ("0", "1"), ("", ""), ("0", "0.01")
    )
    bounds = [g.constant(float(bound)) if bound else "" for bound in (low, high)]
    while bounds and not bounds[-1]:
        bounds.pop()
    return g.op("Clip", x, *bounds)


def _hard_swish(g: Graph, x: str) -> str:
    if g.opset >= 14 and g.chance(0.4):
        return g.op("HardSwish", x)
    if g.chance(0.4):
        gate = g.op("HardSigmoid", x, alpha=1 / 6, beta=0.5)
        return g.op("Mul", *g.either_way(x, gate))
    shifted = g.op("Add", *g.either_way(x, g.constant(3.0)))
    bounded = g.op("Clip", shifted, g.constant(0.0), g.constant(6.0))
    if g.chance(0.5):
        product = g.op("Mul", *g.either_way(x, bounded))
        return g.op("Div", product, g.constant(6.0)) if g.chance(0.5) else g.op("Mul", product, g.constant(1 / 6))
    gate = g.op("Div", bounded, g.constant(6.0)) if g.chance(0.5) else g.op("Mul", bounded, g.constant([1 / 6]))
    return g.op("Mul", *g.either_way(x, gate))


def _gelu(g: Graph, x: str) -> str:
    half = g.op("Erf", g.op("Div", x, g.constant(2**0.5)))
    return g.op("Mul", g.op("Mul", x, g.op("Add", half, g.constant(1.0))), g.constant(0.5))


def _prelu(g: Graph, x: str) -> str:
    shape = (g.shape(x)[1], *[1] * (len(g.shape(x)) - 2)) if g.chance(0.7) and len(g.shape(x)) > 1 else (1,)
    return g.op("PRelu", x, g.constant(g.rng.random(shape) * 0.5))


def _named(op_type: str, **attributes: object) -> Callable[[Graph, str], str]:
    return lambda g, x: g.op(op_type, x, **attributes)


_ACTIVATIONS: tuple[Callable[[Graph, str], str], ...] = (
    *[_named("Relu")] * 6,
    *[_clip] * 5,
    *[_hard_swish] * 3,
    _named("LeakyRelu", alpha=0.1),
    _named("LeakyRelu"),
    _named("LeakyRelu", alpha=1.5),
    _named("LeakyRelu", alpha=-0.5),
    *[_named("HardSigmoid")] * 2,
    _named("HardSigmoid", alpha=1 / 6, beta=0.5),
    _named("HardSigmoid", alpha=-0.3, beta=0.5),
    _named("HardSigmoid", alpha=0.3, beta=1.5),
    *[_named("Sigmoid")] * 2,
    *[lambda g, x: g.op("Mul", *g.either_way(x, g.op("Sigmoid", x)))] * 2,
    lambda g, x: g.op("Mul", x, g.op("Tanh", g.op("Softplus", x))),
    _named("Tanh"),
    _named("Elu"),
    _named("Abs"),
    _named("Neg"),
    _named("Softplus"),
    _gelu,
    _prelu,
)
