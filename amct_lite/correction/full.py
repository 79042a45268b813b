"""Sequential bias correction: layer by layer, the measured difference of output means goes into the bias.

Each layer is measured behind the quantized and corrected layers in front of it, so that the correction also takes back what
rounded activations and non-linear functions shift. The quantized model is run piece by piece, from one layer to the next, so
that all layers together cost one inference pass over the samples, not one pass each.
Source: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction" (2019), appendix D.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from amct_lite import ir
from amct_lite.correction.analytic import shift_bias
from amct_lite.exporters import qdq
from amct_lite.exporters.integers import QuantizedLayer, quantized_layers
from amct_lite.runtime import RuntimeOptions, open_session
from amct_lite.types import AnyArray, DoubleArray, Feeds, FloatArray, QuantRecord

MOST_VALUES = 1 << 26
"""Output values of all layers over all feeds: means settle with fewer samples where a layer has many positions, and this
bounds what is held. MobileNetV1-0.25 takes 50 images, ResNet50 6."""


def measure_shifts(
    prepared: ir.Model,
    record: QuantRecord,
    data: Sequence[Feeds],
    options: RuntimeOptions | None = None,
    progress: Callable[[int], None] = lambda _layers: None,
) -> dict[str, FloatArray]:
    """Layer → (Cout,) float32 shift of its output means, for each layer with a weight and a bias to correct.

    Held in memory: the activations between two layers for each of `data` (as many as stay within MOST_VALUES).
    """
    chosen = options or RuntimeOptions()
    layers = [
        item for item in quantized_layers(prepared, record) if item.layer.weight is not None and item.layer.bias is not None
    ]
    if not layers:
        return {}
    exact, feeds = _float_means(prepared, layers, data, chosen)
    walk = _Walk(qdq.export(prepared, record), [item.layer.output.name or "" for item in layers], feeds, chosen)
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


def apply_shifts(prepared: ir.Model, record: QuantRecord, shifts: Mapping[str, FloatArray]) -> ir.Model:
    """A copy of `prepared` in which the shift of each layer that the record still holds is taken off its bias."""
    result = ir.clone(prepared)
    for item in quantized_layers(result, record):
        if item.layer.name in shifts:
            shift_bias(item, -shifts[item.layer.name].astype(np.float64))
    return result


@dataclass(frozen=True)
class _Piece:
    """What computes one layer's output, and what it reads."""

    model: ir.Model
    reads: tuple[str, ...]


class _Walk:
    """Runs the quantized model from cut to cut; what a later piece reads is held, and let go after its last reader."""

    def __init__(self, model: ir.Model, cuts: Sequence[str], data: Sequence[Feeds], options: RuntimeOptions) -> None:
        self._cuts = cuts
        self._options = options
        self._pieces = []
        for number, cut in enumerate(cuts):
            piece = ir.extract(model, [cut], cuts[:number])
            self._pieces.append(_Piece(piece, tuple(str(value.name) for value in piece.graph.inputs)))
        self._last_reader = {name: n for n, piece in enumerate(self._pieces) for name in piece.reads}
        self._values = [dict(feeds) for feeds in data]

    def run(self, number: int) -> list[AnyArray]:
        """The value at cut `number` for each feed."""
        piece = self._pieces[number]
        session = open_session(piece.model, self._options)
        results = [session.run({name: values[name] for name in piece.reads})[0] for values in self._values]
        for values in self._values:
            for name in [name for name in values if self._last_reader.get(name, -1) <= number]:
                del values[name]
        return results

    def keep(self, number: int, arrays: Sequence[AnyArray]) -> None:
        """Let the pieces after `number` continue from `arrays`."""
        if self._last_reader.get(self._cuts[number], -1) > number:
            for values, array in zip(self._values, arrays, strict=True):
                values[self._cuts[number]] = array


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
