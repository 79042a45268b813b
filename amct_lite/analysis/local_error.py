"""How much each layer's own output changes by its quantization alone, for all layers in one pass.

Beside every layer of the float graph stands its quantized twin, fed with the same float data. The errors are summed inside
the graph; no activation is fetched.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from amct_lite import ir
from amct_lite.exporters import qdq
from amct_lite.exporters.integers import attach_bias, quantized_layers
from amct_lite.ir.build import Inserter
from amct_lite.numerics.metrics import cosine_from_error, sqnr_db_from_sums
from amct_lite.ops import Layer, bind
from amct_lite.runtime import RuntimeOptions, open_session
from amct_lite.types import Feeds, FloatArray, LayerRecord, QuantRecord

_TWIN = ".quantized_twin"


@dataclass(frozen=True)
class LocalError:
    """Of one layer's output: signal to quantization noise (dB), cosine similarity."""

    sqnr_db: float
    cosine: float


def measure(
    model: ir.Model,
    corrected: ir.Model,
    record: QuantRecord,
    data: Iterable[Feeds],
    options: RuntimeOptions | None = None,
) -> Mapping[str, LocalError]:
    """Layer name → error of its output. `model`: prepared; `corrected`: the same with the biases that are exported.

    A layer whose sums of squares leave float32's range is left out.
    """
    twins, order = _with_twins(model, corrected, record)
    session = open_session(twins, options or RuntimeOptions())
    sums = np.zeros((len(order), 3))
    for feeds in data:
        (values,) = session.run(feeds)
        sums += values.reshape(len(order), 3)
    return {
        layer: LocalError(sqnr_db_from_sums(signal, noise), cosine_from_error(signal, signal_q, noise))
        for layer, (signal, signal_q, noise) in zip(order, sums.tolist(), strict=True)
        if np.isfinite([signal, signal_q, noise]).all()
    }


def _with_twins(model: ir.Model, corrected: ir.Model, record: QuantRecord) -> tuple[ir.Model, tuple[str, ...]]:
    """`model` with a quantized twin beside each layer; its only output holds three sums a layer, in the order returned."""
    result = ir.clone(model)
    biases = {item.layer.name: item.layer.bias_array for item in quantized_layers(corrected, record)}
    by_key = record.by_key
    sums: list[ir.Value] = []
    twins: list[LayerRecord] = []
    for item in quantized_layers(result, record):
        name = item.layer.name
        twin = _twin(item.layer, biases[name])
        twins.append(replace(by_key[name], key=f"{name}{_TWIN}"))
        sums += _sums(Inserter.at_end(result.graph, f"{name}.error"), item.layer.output, twin)
    total = Inserter.at_end(result.graph, "amct").op("Concat", *sums, axis=0)
    result.graph.outputs.clear()
    result.graph.outputs.append(total)
    return qdq.export(result, QuantRecord(tuple(twins))), tuple(t.key.removesuffix(_TWIN) for t in twins)


def _twin(layer: Layer, bias: FloatArray | None) -> ir.Value:
    """A copy of the layer (with its bias Add) that reads the same data, with `bias` as its own; returns its output."""
    copy = _copy(layer.node, {})
    ir.insert_after(layer.node, copy)
    output = copy.outputs[0]
    if layer.bias_node is not None and layer.bias_node is not layer.node:
        add = _copy(layer.bias_node, {layer.node.outputs[0]: output})
        ir.insert_after(layer.bias_node, add)
        output = add.outputs[0]
    if bias is not None:
        bound = bind(copy)
        assert isinstance(bound, Layer), "a copy binds like its original"
        graph = copy.graph
        assert graph is not None
        attach_bias(bound, ir.add_initializer(graph, f"{copy.name}.bias", bias))
    return output


def _copy(node: ir.Node, replaced: Mapping[ir.Value, ir.Value]) -> ir.Node:
    attributes = {name: ir.attribute(node, name, None) for name in node.attributes}
    inputs = [value if value is None else replaced.get(value, value) for value in node.inputs]
    return ir.new_node(node.op_type, inputs, name=f"{node.name}{_TWIN}", domain=node.domain, attributes=attributes)


def _sums(b: Inserter, exact: ir.Value, quantized: ir.Value) -> list[ir.Value]:
    """Σ y², Σ y_q² and Σ (y_q − y)², each of shape (1,)."""
    scalars = (
        b.op("ReduceSumSquare", exact, keepdims=0),
        b.op("ReduceSumSquare", quantized, keepdims=0),
        b.op("ReduceSumSquare", b.op("Sub", quantized, exact), keepdims=0),
    )
    return [b.op("Reshape", scalar, b.constant([1], "int64")) for scalar in scalars]
