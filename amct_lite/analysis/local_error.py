"""How much each layer's own output changes by its quantization alone, for all layers in one pass.

Beside every layer of the float graph stands its quantized twin, fed with the same float data; a single tensor is compared with
itself, rounded, where normalizations alone read it behind the first of them. The errors are summed inside the graph; no
activation is fetched, but for those that cross from one piece of a large model to the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from amct_lite import ir
from amct_lite.analysis.normalized import normalization_behind
from amct_lite.analysis.pieces import FEWEST_LAYERS, Piece, cut
from amct_lite.errors import CalibrationError
from amct_lite.exporters import qdq
from amct_lite.exporters.integers import attach_bias, quantized_layers
from amct_lite.exporters.reads import QuantizedRead, quantized_reads
from amct_lite.ir.build import Inserter
from amct_lite.numerics.metrics import cosine_from_error, sqnr_db_from_sums
from amct_lite.ops import Layer, bind
from amct_lite.passes.channel_affine import ChannelAffine
from amct_lite.record import split_key
from amct_lite.runtime import RuntimeOptions, open_session
from amct_lite.types import AnyArray, Feeds, LayerRecord, QuantRecord

MOST_BYTES = 256 << 20
"""Weights that are run together: a large model and all its twins at once would need more memory than the model alone."""
_TWIN = ".quantized_twin"
Pair = tuple[str, ir.Value, ir.Value]


@dataclass(frozen=True)
class LocalError:
    """Of one layer's output, or of one tensor: signal to quantization noise (dB), cosine similarity."""

    sqnr_db: float
    cosine: float


def measure(
    model: ir.Model,
    corrected: ir.Model,
    record: QuantRecord,
    data: Iterable[Feeds],
    options: RuntimeOptions | None = None,
    *,
    optimize: bool = True,
) -> Mapping[str, LocalError]:
    """Key of `record` → error of that layer's output, or of that tensor.

    model: prepared; corrected: the same with the weights and biases that are exported. optimize: as of `open_session`; for a
    few samples it costs more than it saves.

    A layer whose sums of squares leave float32's range is left out.
    """
    pieces = _pieces(model, record)
    held: Iterable[dict[str, AnyArray]] = [dict(feeds) for feeds in data] if len(pieces) > 1 else map(dict, data)
    sums: dict[str, list[float]] = {}
    for number, piece in enumerate(pieces):
        names = {node.name for node in piece.model.graph}
        own = QuantRecord(tuple(e for e in record.layers if e.key not in sums and _node(e) in names))
        sums.update(_summed(piece, corrected, own, held, options or RuntimeOptions(), optimize))
        later = {name for other in pieces[number + 1 :] for name in other.reads}
        for values in held:
            for name in values.keys() - later:
                del values[name]
    return {
        layer: LocalError(sqnr_db_from_sums(signal, noise), cosine_from_error(signal, signal_q, noise))
        for layer, (signal, signal_q, noise) in sums.items()
        if np.isfinite([signal, signal_q, noise]).all()
    }


def _pieces(model: ir.Model, record: QuantRecord) -> tuple[Piece, ...]:
    """All of the model together unless it is large."""
    layers = {_node(entry) for entry in record.layers}
    count = -(-ir.weight_bytes(model) // MOST_BYTES)
    if count > 1:
        return cut(model, layers, max(FEWEST_LAYERS, -(-len(layers) // count)))
    return (Piece(model, tuple(str(value.name) for value in model.graph.inputs), (), tuple(layers)),)


def _node(entry: LayerRecord) -> str:
    """Of the layer, or the one that reads the tensor."""
    return split_key(entry.key)[0] if entry.tensor_quantize else entry.key


def _summed(
    piece: Piece,
    corrected: ir.Model,
    record: QuantRecord,
    held: Iterable[dict[str, AnyArray]],
    options: RuntimeOptions,
    optimize: bool,
) -> Mapping[str, list[float]]:
    """Key of `record` → Σ y², Σ y_q² and Σ (y_q − y)² over all samples. Adds what the piece gives to each of `held`."""
    twins, order = _with_twins(piece, corrected, record)
    session = open_session(twins, options, optimize=optimize)
    sums = np.zeros((len(order), 3))
    for values in held:
        found = session.run_inside({name: values[name] for name in session.input_names})
        given, scalars = found[: len(piece.gives)], found[len(piece.gives) :]
        sums += np.reshape(scalars, sums.shape)
        values.update(zip(piece.gives, given, strict=True))
    return dict(zip(order, sums.tolist(), strict=True))


def compare_outputs(
    model: ir.Model,
    corrected: ir.Model,
    record: QuantRecord,
    data: Iterable[Feeds],
    compare: Callable[[AnyArray, AnyArray], float],
    options: RuntimeOptions | None = None,
) -> Mapping[str, float]:
    """Layer name → mean over the batches of `compare(output, quantized output)`, for measures that are no sums.

    data: one batch at least; the outputs of all layers for one batch are in memory together.
    Raises CalibrationError for a score that is not finite.
    """
    twins, pairs = _twinned(model, corrected, record)
    outputs = [value for _, exact, quantized in pairs for value in (exact, quantized)]
    session = open_session(_exported(twins, record, pairs, outputs), options or RuntimeOptions())
    rows = []
    for feeds in data:
        values = session.run(feeds)
        rows.append([float(compare(*values[2 * i : 2 * i + 2])) for i in range(len(pairs))])
    means = np.mean(rows, axis=0).tolist()
    found = {name: score for (name, _, _), score in zip(pairs, means, strict=True)}
    if wrong := [name for name, score in found.items() if not np.isfinite(score)]:
        raise CalibrationError(f"the similarity of {wrong[0]} is {found[wrong[0]]}. compare must return finite numbers.")
    return found


def _with_twins(piece: Piece, corrected: ir.Model, record: QuantRecord) -> tuple[ir.Model, tuple[str, ...]]:
    """The model of `piece` with a quantized twin beside each layer and tensor; its outputs are what the piece gives and then
    three sums for each key, in the order returned."""
    result, pairs = _twinned(piece.model, corrected, record)
    given = {str(value.name): value for node in result.graph for value in node.outputs}
    sums = [
        value for name, exact, quantized in pairs for value in error_sums(_behind(quantized, f"{name}.error"), exact, quantized)
    ]
    outputs = [*(given[name] for name in piece.gives), *sums]
    return _exported(result, record, pairs, outputs), tuple(name for name, _, _ in pairs)


def _behind(value: ir.Value, prefix: str) -> Inserter:
    """Writes where `value` is computed: what is summed at once need not stay in memory."""
    producer = value.producer()
    assert producer is not None, "a twin"
    return Inserter.behind(producer, prefix)


def _twinned(model: ir.Model, corrected: ir.Model, record: QuantRecord) -> tuple[ir.Model, list[Pair]]:
    """A copy of `model` with a twin beside each entry of `record`, not quantized yet: (key, output of the layer, the twin's);
    of a single tensor (key, the tensor, the tensor passed on), both as the normalizations see them that alone read it."""
    result = ir.clone(model)
    exported = {item.layer.name: item.layer for item in quantized_layers(corrected, record)}
    layers = [item.layer for item in quantized_layers(result, record)]
    reads = [(read, normalization_behind(read.node, read.index)) for read in quantized_reads(result, record)]
    tensors = [_passed_on(read, seen) for read, seen in reads]
    return result, [*((layer.name, layer.output, _twin(layer, exported[layer.name])) for layer in layers), *tensors]


def _exported(model: ir.Model, record: QuantRecord, pairs: Iterable[Pair], outputs: Iterable[ir.Value]) -> ir.Model:
    """`model` with its twins quantized and these outputs alone."""
    model.graph.outputs.clear()
    model.graph.outputs.extend(outputs)
    entries = [record.by_key[key] for key, _, _ in pairs]
    twins = [replace(entry, key=f"{entry.key}{_TWIN}{':0' * entry.tensor_quantize}") for entry in entries]
    return qdq.export(model, QuantRecord(tuple(twins)))


def _twin(layer: Layer, exported: Layer) -> ir.Value:
    """The output of a copy of the layer with weight and bias of `exported`."""
    weight = None if layer.weight is None or layer.shares_weight(exported) else exported.weight_array
    return twin(layer, _TWIN, weight, exported.bias_array).output


def twin(layer: Layer, suffix: str, weight: AnyArray | None, bias: AnyArray | None) -> Layer:
    """A copy of the layer (with its bias Add) on the same data, with another weight and bias where these are given."""
    copy = ir.copy_node(layer.node, suffix)
    if layer.bias_node is not None and layer.bias_node is not layer.node:
        ir.copy_node(layer.bias_node, suffix, {layer.node.outputs[0]: copy.outputs[0]})
    bound, graph = bind(copy), copy.graph
    assert isinstance(bound, Layer), "a copy binds like its original"
    assert graph is not None
    if bias is not None:
        attach_bias(bound, ir.add_initializer(graph, f"{copy.name}.bias", bias))
    if weight is not None and bound.weight is not None:
        ir.replace_input(copy, bound.weight, ir.add_initializer(graph, f"{copy.name}.weight", weight))
    return bound


def _passed_on(read: QuantizedRead, seen: ChannelAffine | None) -> Pair:
    """The tensor, and behind a node that does nothing but read it; of both what `seen` makes of them."""
    key = f"{read.node.name}:{read.index}"
    identity = ir.new_node("Identity", [read.value], name=f"{key}{_TWIN}")
    ir.insert_before(read.node, identity)
    exact, quantized = read.value, identity.outputs[0]
    if seen is None:
        return key, exact, quantized
    b = Inserter(read.node, f"{key}.seen")
    scale, shift = (b.constant(array.reshape(-1, 1, 1), np.float32) for array in (seen.scale, seen.shift))
    exact, quantized = (b.op("Add", b.op("Mul", value, scale), shift) for value in (exact, quantized))
    return key, exact, quantized


def error_sums(b: Inserter, exact: ir.Value, quantized: ir.Value) -> tuple[ir.Value, ir.Value, ir.Value]:
    """Σ y², Σ y_q² and Σ (y_q − y)², scalars."""
    return (
        b.op("ReduceSumSquare", exact, keepdims=0),
        b.op("ReduceSumSquare", quantized, keepdims=0),
        b.op("ReduceSumSquare", b.op("Sub", quantized, exact), keepdims=0),
    )
