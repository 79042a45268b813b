"""What layers are made of: weights, biases, numbers of channels, and an image to compute with."""

from __future__ import annotations

import numpy as np
from graph import Graph


def draw_weight(g: Graph, shape: tuple[int, ...], axis: int = 0, fan_in: int | None = None) -> str:
    """An earlier one of that shape now and then; dead and huge channels among the new ones. axis: of the output channels."""
    again = [name for name in g.weights if g.shape(name) == shape]
    if again and g.chance(0.3):
        return again[-1]
    array = g.rng.normal(size=shape) / np.sqrt(fan_in or max(1, np.prod(shape) // shape[axis]))
    quirk, channel = g.rng.random(), int(g.rng.integers(shape[axis]))
    along = np.moveaxis(array, axis, 0)
    if quirk < 0.03:
        along[...] = 0
    elif quirk < 0.09:
        along[channel] = 0
    elif quirk < 0.13:
        along[channel] *= 20
    elif quirk < 0.16:
        along[channel] *= 1e-6
    elif quirk < 0.19:
        along[...] = np.abs(along)
    name = g.constant(array)
    g.weights.append(name)
    return name


def draw_bias(g: Graph, channels: int) -> list[str]:
    kind = g.rng.random()
    if kind < 0.3:
        return []
    return [g.constant(np.zeros(channels) if kind < 0.36 else g.rng.normal(size=channels) * g.choose(0.1, 0.1, 0.5, 20))]


def draw_channels(g: Graph, group: int = 1) -> int:
    return group * max(1, int(g.choose(1, 2, 3, 4, 6, 8, 12, 16, 16, 20, 24, 32, 40)) // group)


def pick_small(g: Graph, rank: int = 4) -> str:
    """An image that is not too large to go on with."""
    return g.pick(rank, lambda array: array.size <= 60_000)
