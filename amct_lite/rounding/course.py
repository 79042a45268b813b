"""The float and the quantized network side by side, from layer to layer; what is decided for a layer holds for those behind, or
(`Apart`) for none."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from amct_lite import ir
from amct_lite.exporters import qdq
from amct_lite.exporters.integers import QuantizedLayer, quantized_layers
from amct_lite.record import split_key
from amct_lite.rounding.apply import set_codes
from amct_lite.runtime import RuntimeOptions, open_session
from amct_lite.types import AnyArray, Feeds, FloatArray, IntArray, QuantRecord
from amct_lite.walk import Walk

MOST_VALUES = 1 << 24
"""Of the largest tensor over all feeds; a few such tensors of both networks are held at a time. ResNet50 takes 20 images."""


class Course:
    """Goes through `layers`, all quantized ones in the order of the graph. learning: names of those that are approached."""

    def __init__(
        self,
        prepared: ir.Model,
        record: QuantRecord,
        layers: Sequence[QuantizedLayer],
        learning: Collection[str],
        data: Sequence[Feeds],
        options: RuntimeOptions,
    ) -> None:
        self._record = record
        self._cuts = _cuts(prepared, layers, learning)
        feeds = _bounded(prepared, self._cuts, data, options)
        self._exact = Walk(prepared, self._cuts, feeds, options)
        self._quantized = Walk(prepared, self._cuts, feeds, options)
        self._done: set[str] = set()

    def approach(self, item: QuantizedLayer) -> tuple[list[AnyArray], list[AnyArray]]:
        """For each feed what the layer reads in the quantized network, and what it gives in the float one."""
        name = data_name(item)
        if name in self._cuts and name not in self._done:
            self._done.add(name)
            number = self._cuts.index(name)
            self._exact.go_on(number)
            self._quantized.go_on(number, self._exported)
        return self._quantized.held(name), self._pass_exact(self._number(item))

    def skip(self, item: QuantizedLayer) -> None:
        """Behind the layer, with its weight rounded to nearest."""
        number = self._number(item)
        self._pass_exact(number)
        self._quantized.go_on(number, self._exported)

    def go_on(self, item: QuantizedLayer, codes: IntArray, shift: FloatArray) -> None:
        """Behind the layer that was approached, its weight being `codes` and `shift` (C,) taken off its bias."""
        number = self._number(item)

        def rounded(piece: ir.Model) -> ir.Model:
            result = ir.clone(piece)
            (own,) = (found for found in quantized_layers(result, self._part(piece)) if found.layer.name == item.layer.name)
            set_codes(own, codes)
            return self._exported(result)

        outputs = self._quantized.run(number, rounded)
        for output in outputs:
            output -= shift.reshape(-1, *[1] * (output.ndim - 2)) if item.layer.channel_axis == 1 else shift
        self._quantized.keep(number, outputs)

    def _pass_exact(self, number: int) -> list[AnyArray]:
        self._done.add(self._cuts[number])
        return self._exact.go_on(number)

    def _number(self, item: QuantizedLayer) -> int:
        return self._cuts.index(str(item.layer.output.name))

    def _exported(self, piece: ir.Model) -> ir.Model:
        return qdq.export(piece, self._part(piece))

    def _part(self, piece: ir.Model) -> QuantRecord:
        """What the record says of the nodes of `piece`, and of single tensors that they read."""
        names = {str(node.name) for node in piece.graph}
        nodes = {e.key: split_key(e.key)[0] if e.tensor_quantize else e.key for e in self._record.layers}
        return QuantRecord(tuple(entry for entry in self._record.layers if nodes[entry.key] in names))


class Apart:
    """Goes through the layers of the float network alone: each reads what the float layers in front of it give, as if no other
    were quantized."""

    def __init__(
        self,
        prepared: ir.Model,
        layers: Sequence[QuantizedLayer],
        learning: Collection[str],
        data: Sequence[Feeds],
        options: RuntimeOptions,
    ) -> None:
        self._cuts = _cuts(prepared, layers, learning)
        self._exact = Walk(prepared, self._cuts, _bounded(prepared, self._cuts, data, options), options)
        self._done: set[str] = set()

    def approach(self, item: QuantizedLayer) -> tuple[list[AnyArray], list[AnyArray]]:
        """For each feed what the layer reads and what it gives."""
        name = data_name(item)
        if name in self._cuts:
            self._pass(self._cuts.index(name))
        return self._exact.held(name), self._pass(self._number(item))

    def skip(self, item: QuantizedLayer) -> None:
        """Behind the layer."""
        self._pass(self._number(item))

    def go_on(self, item: QuantizedLayer, codes: IntArray, shift: FloatArray) -> None:
        """Behind the layer that was approached, whatever was decided for it."""

    def _pass(self, number: int) -> list[AnyArray]:
        if self._cuts[number] in self._done:
            return []
        self._done.add(self._cuts[number])
        return self._exact.go_on(number)

    def _number(self, item: QuantizedLayer) -> int:
        return self._cuts.index(str(item.layer.output.name))


def data_name(item: QuantizedLayer) -> str:
    """The tensor that the layer reads."""
    value = item.layer.node.inputs[item.layer.data[0]]
    assert value is not None
    return str(value.name)


def _cuts(model: ir.Model, layers: Sequence[QuantizedLayer], learning: Collection[str]) -> tuple[str, ...]:
    """The output of each layer, and in front of it what it reads, where that is asked for and is no cut or graph input."""
    inputs = {str(value.name) for value in model.graph.inputs}
    cuts: dict[str, None] = {}
    for item in layers:
        if item.layer.name in learning and (name := data_name(item)) not in inputs:
            cuts[name] = None
        cuts[str(item.layer.output.name)] = None
    return tuple(cuts)


def _bounded(model: ir.Model, cuts: Sequence[str], data: Sequence[Feeds], options: RuntimeOptions) -> tuple[Feeds, ...]:
    """As many feeds as stay within MOST_VALUES, one at least."""
    session = open_session(ir.extract(model, cuts), options)
    sizes = [np.size(value) for value in session.run({name: data[0][name] for name in session.input_names}, cuts)]
    return tuple(data[: max(1, MOST_VALUES // max(sizes))])
