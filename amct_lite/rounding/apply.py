"""Weights on the grid points that were decided for them. Exporters quantize them with the record's scales and find just
these integers again."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from amct_lite import ir
from amct_lite.exporters.integers import QuantizedLayer, quantized_layers, quantized_weight
from amct_lite.types import IntArray, QuantRecord, Skip
from amct_lite.weights import Rounding


def apply_roundings(
    prepared: ir.Model, record: QuantRecord, roundings: Mapping[str, Rounding]
) -> tuple[ir.Model, tuple[Skip, ...]]:
    """A copy of `prepared` with the rounding of each layer that the record still holds; and those that no longer fit."""
    if not roundings:
        return prepared, ()
    result = ir.clone(prepared)
    skips: list[Skip] = []
    for item in quantized_layers(result, record):
        layer = item.layer
        rounding = roundings.get(layer.name)
        if rounding is None:
            continue
        if layer.weight is not None and rounding.fits(layer.rows(layer.weight_array), item.weight):
            nearest: IntArray = layer.rows(quantized_weight(item)).astype(np.int32)
            set_codes(item, rounding.codes(nearest))
        else:
            reason = "its weight is rounded to nearest: its rounding was learned for other scales, or another weight"
            skips.append(Skip(layer.name, layer.op_type, reason))
    return result, tuple(skips)


def set_codes(item: QuantizedLayer, codes: IntArray) -> None:
    """Let the weight of the layer be `codes` (C, n) times its scales, in the layer's graph."""
    layer = item.layer
    graph = layer.node.graph
    assert layer.weight is not None
    assert graph is not None
    rows = codes.astype(np.float32) * item.weight.scales[:, None]
    array = layer.from_rows(rows, layer.weight_array.shape)
    ir.replace_input(layer.node, layer.weight, ir.add_initializer(graph, f"{layer.name}.rounded_weight", array))
