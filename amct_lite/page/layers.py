"""What is known of each layer: where its values lie, which of them the integers cover, how far its channels reach."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from amct_lite import ir
from amct_lite.calibration.store import Sketches
from amct_lite.exporters.integers import QuantizedLayer, quantized_layers
from amct_lite.exporters.reads import quantized_reads
from amct_lite.numerics.affine import real_range
from amct_lite.numerics.clipping import clipped_share
from amct_lite.numerics.sketch import Sketch
from amct_lite.page.values import Histogram, LayerView, Spread, TensorView
from amct_lite.reports.report import Report
from amct_lite.reports.warnings import DEAD_CHANNEL
from amct_lite.types import AnyArray, QParams, QuantRecord

BINS = 64
MOST_BARS = 128
"""A bar for each channel up to here; beyond, a bar is narrower than what a screen shows."""


def layer_views(report: Report, record: QuantRecord, sketches: Sketches, model: ir.Model | None) -> tuple[LayerView, ...]:
    """A view of each row of `report`, in its order. model: with float weights; without it there are no tensors' names, hence
    neither ranges nor weights.

    Raises ExportError where record and model disagree.
    """
    layers = {item.layer.name: item for item in quantized_layers(model, record)} if model else {}
    tensors = {f"{read.node.name}:{read.index}": read for read in quantized_reads(model, record)} if model else {}
    by_name = {name: sketch for (name, _), sketch in reversed(tuple(sketches.items()))}
    views = []
    for row in report.layers:
        item = layers.get(row.name)
        inputs = _inputs(item, sketches) if item else ()
        if row.name in tensors:
            name = str(tensors[row.name].value.name)
            inputs = (tensor_view(name, tensors[row.name].params, by_name.get(name)),)
        weights, dead = _weights(item) if item else (None, 0)
        views.append(LayerView(row, inputs, weights, dead))
    return tuple(views)


def _inputs(item: QuantizedLayer, sketches: Mapping[tuple[str, int | None], Sketch]) -> tuple[TensorView, ...]:
    views = []
    for position, index in enumerate(item.layer.data):
        name = str(getattr(item.layer.node.inputs[index], "name", ""))
        same = {axis: sketch for (tensor, axis), sketch in sketches.items() if tensor == name}
        sketch = same.get(item.layer.channel_axis, next(iter(same.values()), None))
        views.append(tensor_view(name, item.data_params(position), sketch))
    return tuple(views)


def tensor_view(name: str, params: QParams, sketch: Sketch | None) -> TensorView:
    """sketch: what was observed of the tensor, None when nothing was."""
    clip = real_range(params)
    if sketch is None or not sketch.samples:
        return TensorView(name, clip)
    low, high = sketch.channel_low, sketch.channel_high
    silent = int(np.count_nonzero((low == 0) & (high == 0))) if sketch.channels > 1 else 0
    return TensorView(
        name,
        clip,
        (sketch.low, sketch.high),
        clipped_share(sketch, params),
        _histogram(sketch, clip),
        _spread(low, high) if sketch.channels > 1 else None,
        silent,
    )


def _histogram(sketch: Sketch, clip: tuple[float, float]) -> Histogram:
    """Over everything observed and everything the codes reach."""
    low, high = min(sketch.low, clip[0]), max(sketch.high, clip[1])
    edges = np.linspace(low, high, BINS + 1, dtype=np.float64)
    return Histogram(low, high, tuple(int(count) for count in np.rint(sketch.histogram(edges))))


def _weights(item: QuantizedLayer) -> tuple[Spread | None, int]:
    """The range of each output channel, and how many channels are dead."""
    if item.layer.weight is None:
        return None, 0
    rows = item.layer.rows(item.layer.weight_array)
    largest = np.abs(rows).max(axis=1, initial=0.0)
    dead = int(np.count_nonzero(largest <= DEAD_CHANNEL * largest.max(initial=0.0)))
    return _spread(rows.min(axis=1), rows.max(axis=1)), dead


def _spread(low: AnyArray, high: AnyArray) -> Spread:
    starts = np.unique(np.linspace(0, low.size, min(low.size, MOST_BARS), endpoint=False).astype(int))
    lows, highs = np.minimum.reduceat(low, starts), np.maximum.reduceat(high, starts)
    return Spread(tuple(map(float, lows)), tuple(map(float, highs)), int(low.size))
