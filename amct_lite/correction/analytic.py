"""Analytic bias correction: b ← b − (W_q − W) · E[x], from the input means that the sketches carry.

Source: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction" (2019), section 4.2, with
measured instead of assumed input means.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from amct_lite import ir
from amct_lite.exporters.integers import QuantizedLayer, attach_bias, quantized_layers, quantized_weight
from amct_lite.numerics.sketch import Sketch
from amct_lite.types import AnyArray, DoubleArray, QuantRecord, Skip

Sketches = Mapping[tuple[str, int | None], Sketch]


@dataclass(frozen=True)
class Corrected:
    """A model with new biases; `layers` names those that got one, `skips` says why others did not."""

    model: ir.Model
    layers: tuple[str, ...]
    skips: tuple[Skip, ...]


def correct_bias(model: ir.Model, record: QuantRecord, sketches: Sketches, *, rounded: ir.Model | None = None) -> Corrected:
    """A copy of `rounded` with the bias of each layer of `record` corrected for its weight error.

    model: prepared. rounded: the same with weights that lie on their grid already (None: none does).
    """
    result = ir.clone(rounded or model)
    exact = {item.layer.name: item.layer for item in quantized_layers(model, record)}
    corrected: list[str] = []
    skips: list[Skip] = []
    for item in quantized_layers(result, record):
        # No product, or gates between it and the output.
        if item.layer.weight is None or not item.layer.data or item.layer.recurrence is not None:
            continue
        shift = mean_shift(item, sketches, exact[item.layer.name].weight_array)
        if isinstance(shift, str):
            skips.append(Skip(item.layer.name, item.layer.op_type, f"no bias correction: {shift}"))
            continue
        shift_bias(item, -shift)
        corrected.append(item.layer.name)
    return Corrected(result, tuple(corrected), tuple(skips))


def mean_shift(item: QuantizedLayer, sketches: Sketches, weight: AnyArray) -> DoubleArray | str:
    """(Cout,) expected change of the layer's output by its quantized weight instead of `weight`, or why it is not known."""
    layer = item.layer
    if layer.bias is None:
        return "there is none to correct"
    data = layer.node.inputs[layer.data[0]]
    assert data is not None
    sketch = sketches.get((str(data.name), layer.channel_axis))
    if sketch is None:
        return "the calibration has no means of its input channels"
    error = layer.rows(quantized_weight(item)) * item.weight.scales.astype(np.float64)[:, None]
    error -= layer.rows(weight)
    shift = item.spec.mean_shift(layer, layer.from_rows(error, weight.shape), sketch.channel_mean.astype(np.float64))
    return "its weight is a stack of matrices" if shift is None else shift


def shift_bias(item: QuantizedLayer, change: DoubleArray) -> None:
    """Add `change` (Cout,) to the layer's bias, giving it one if it has none."""
    layer = item.layer
    graph = layer.node.graph
    assert graph is not None
    bias = layer.bias_array
    moved = change if bias is None else bias.astype(np.float64) + change
    attach_bias(layer, ir.add_initializer(graph, f"{layer.name}.corrected_bias", moved.astype(np.float32)))
