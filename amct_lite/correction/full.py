"""Sequential bias correction: layer by layer, the measured difference of output means goes into the bias.

Each layer is measured behind the quantized and corrected layers in front of it, so that the correction also takes back what
rounded activations and non-linear functions shift. The quantized model is run piece by piece, from one layer to the next, so
that all layers together cost one inference pass over the samples, not one pass each.
Source: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction" (2019), appendix D.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from amct_lite import ir
from amct_lite.correction.analytic import shift_bias
from amct_lite.exporters import qdq
from amct_lite.exporters.integers import QuantizedLayer, quantized_layers
from amct_lite.runtime import RuntimeOptions, open_session
from amct_lite.types import AnyArray, DoubleArray, Feeds, FloatArray, QuantRecord
from amct_lite.walk import Walk

MOST_VALUES = 1 << 26
"""Output values of all layers over all feeds: means settle with fewer samples where a layer has many positions, and this
bounds what is held. MobileNetV1-0.25 takes 50 images, ResNet50 6."""


def measure_shifts(
    prepared: ir.Model,
    record: QuantRecord,
    data: Sequence[Feeds],
    options: RuntimeOptions | None = None,
    progress: Callable[[int], None] = lambda _layers: None,
    *,
    rounded: ir.Model | None = None,
) -> dict[str, FloatArray]:
    """Layer → (Cout,) float32 shift of its output means, for each layer with a weight and a bias to correct.

    rounded: `prepared` with weights that lie on their grid already (None: none does).
    Held in memory: the activations between two layers for each of `data` (as many as stay within MOST_VALUES).
    """
    chosen = options or RuntimeOptions()
    layers = [
        item for item in quantized_layers(prepared, record) if item.layer.weight is not None and item.layer.bias is not None
    ]
    if not layers:
        return {}
    exact, feeds = _float_means(prepared, layers, data, chosen)
    walk = Walk(qdq.export(rounded or prepared, record), [item.layer.output.name or "" for item in layers], feeds, chosen)
    shifts: dict[str, FloatArray] = {}
    for number, item in enumerate(layers):
        outputs = walk.run(number)
        shift = (_mean(item, outputs) - exact[item.layer.name]).astype(np.float32)
        for output in outputs:
            output -= _along_channels(item, shift, output.ndim)
        walk.keep(number, outputs)
        shifts[item.layer.name] = shift
        progress(1)
    return shifts


def apply_shifts(model: ir.Model, record: QuantRecord, shifts: Mapping[str, FloatArray]) -> ir.Model:
    """A copy of `model` (prepared) in which the shift of each layer that the record still holds is taken off its bias."""
    result = ir.clone(model)
    for item in quantized_layers(result, record):
        if item.layer.name in shifts:
            shift_bias(item, -shifts[item.layer.name].astype(np.float64))
    return result


def _float_means(
    model: ir.Model, layers: Sequence[QuantizedLayer], data: Sequence[Feeds], options: RuntimeOptions
) -> tuple[dict[str, DoubleArray], tuple[Feeds, ...]]:
    """Layer → (Cout,) mean of its float output over all samples and positions, and the feeds that were taken."""
    names = [str(item.layer.output.name) for item in layers]
    session = open_session(ir.extract(model, names), options)
    sums = [np.zeros(item.layer.channels or 1) for item in layers]
    counts = [0] * len(layers)
    taken: list[Feeds] = []
    for feeds in data:
        if sum(counts) >= MOST_VALUES:
            break
        taken.append(feeds)
        results = session.run({name: feeds[name] for name in session.input_names}, names)
        for number, (item, result) in enumerate(zip(layers, results, strict=True)):
            sums[number] += _channel_sums(item, result)
            counts[number] += result.size
    means = {
        item.layer.name: total * (total.size / max(count, 1)) for item, total, count in zip(layers, sums, counts, strict=True)
    }
    return means, tuple(taken)


def _mean(item: QuantizedLayer, outputs: Sequence[AnyArray]) -> DoubleArray:
    """(Cout,) mean over all of `outputs`."""
    total: DoubleArray = np.sum([_channel_sums(item, output) for output in outputs], axis=0)
    return total * (total.size / max(sum(output.size for output in outputs), 1))


def _channel_sums(item: QuantizedLayer, output: AnyArray) -> DoubleArray:
    """(Cout,) sums of one output: each sample pairwise in float32, samples in float64. Convolutions carry channels on
    axis 1, products on the last."""
    if item.layer.channel_axis == 1:
        sums: DoubleArray = output.reshape(*output.shape[:2], -1).sum(axis=2).sum(axis=0, dtype=np.float64)
    else:
        sums = output.reshape(-1, output.shape[-1]).sum(axis=0, dtype=np.float64)
    return sums


def _along_channels(item: QuantizedLayer, vector: FloatArray, rank: int) -> FloatArray:
    return vector.reshape(-1, *[1] * (rank - 2)) if item.layer.channel_axis == 1 else vector
