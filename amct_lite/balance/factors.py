"""From what calibration saw of the inputs and from the weights to the factors of each layer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

import numpy as np

from amct_lite import ir
from amct_lite.balance.fold import foldable
from amct_lite.balance.graph import balanced_layers
from amct_lite.numerics.balance import balance_factors
from amct_lite.numerics.sketch import Sketch
from amct_lite.ops import Layer
from amct_lite.types import Balance, FloatArray

Sketches = Mapping[tuple[str, int | None], Sketch]


def decide_factors(model: ir.Model, strengths: Mapping[str, float], sketches: Sketches, *, fold: bool) -> Balance:
    """The factors of the layers in `strengths` (name → migration strength) of `model` (prepared).

    sketches: of their inputs, by (tensor, channel axis). fold: layers whose common input can be divided in front get common
    factors, made with the largest of their weights (as SmoothQuant has it for the readers of one normalization).
    """
    layers = balanced_layers(model, strengths)
    factors: dict[str, tuple[float, ...]] = {}
    for group in joint_groups(layers, strengths) if fold else ((layer,) for layer in layers):
        seen = sketches[tap_of(group[0])]
        weight_max = np.maximum.reduce([input_channel_max(layer) for layer in group])
        found = balance_factors(activation_max(seen), weight_max, strengths[group[0].name])
        factors |= {layer.name: tuple(found.tolist()) for layer in group}
    return Balance({layer.name: factors[layer.name] for layer in layers}, dict(strengths), fold)


def joint_groups(layers: Iterable[Layer], strengths: Mapping[str, float]) -> list[tuple[Layer, ...]]:
    """Layers that read one tensor with one strength together, where folding is possible for them all; else alone."""
    readers: dict[tuple[object, ...], list[Layer]] = defaultdict(list)
    for layer in layers:
        readers[layer.node.inputs[layer.data[0]], layer.channel_axis, strengths[layer.name]].append(layer)
    groups: list[tuple[Layer, ...]] = []
    for group in readers.values():
        groups += [tuple(group)] if not foldable(group) else [(layer,) for layer in group]
    return groups


def activation_max(sketch: Sketch) -> FloatArray:
    """(Cin,) float32: the largest magnitude of each input channel."""
    largest: FloatArray = np.maximum(np.abs(sketch.channel_low), np.abs(sketch.channel_high))
    return largest


def input_channel_max(layer: Layer) -> FloatArray:
    """(Cin,) float32: the largest magnitude in the weights of each input channel."""
    largest: FloatArray = np.abs(layer.input_rows(layer.weight_array)).max(axis=1, initial=0.0)
    return largest


def tap_of(layer: Layer) -> tuple[str, int | None]:
    """The key of the sketch of its input."""
    value = layer.node.inputs[layer.data[0]]
    assert value is not None
    return str(value.name), layer.channel_axis
