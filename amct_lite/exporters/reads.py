"""Single tensors of a record: inputs of nodes that stay in float, quantized and dequantized in front of them."""

from __future__ import annotations

from dataclasses import dataclass

from amct_lite import ir
from amct_lite.errors import ExportError
from amct_lite.exporters.integers import QuantizedLayer, quantized_layers
from amct_lite.record import split_key
from amct_lite.types import LayerRecord, QParams, QuantRecord


@dataclass(frozen=True)
class QuantizedRead:
    """Input `index` of `node`, which is to read it rounded to integers and back."""

    node: ir.Node
    index: int
    params: QParams

    @property
    def value(self) -> ir.Value:
        value = self.node.inputs[self.index]
        assert value is not None
        return value


def quantized_reads(model: ir.Model, record: QuantRecord) -> tuple[QuantizedRead, ...]:
    """The single tensors that `record` names, in the order of the graph. Raises ExportError where the two disagree."""
    wanted = {split_key(entry.key): entry for entry in record.layers if entry.tensor_quantize}
    found = [
        (key, _read(node, key[1], wanted[key]))
        for node in model.graph
        for key in ((str(node.name), index) for index in range(len(node.inputs)))
        if key in wanted
    ]
    if missing := wanted.keys() - {key for key, _ in found}:
        name, index = min(missing)
        raise ExportError(f"the record names input {index} of {name!r}, which the model does not have. Check it against it.")
    return tuple(read for _, read in found)


def in_graph_order(model: ir.Model, record: QuantRecord) -> tuple[QuantizedLayer | QuantizedRead, ...]:
    """All that `record` names, layers and single tensors, in the order of the graph: what is written for the first reader
    of a tensor then stands in front of all others."""
    items: dict[ir.Node, list[QuantizedLayer | QuantizedRead]] = {}
    for layer in quantized_layers(model, record):
        items.setdefault(layer.layer.node, []).append(layer)
    for read in quantized_reads(model, record):
        items.setdefault(read.node, []).append(read)
    return tuple(item for node in model.graph for item in items.get(node, ()))


def _read(node: ir.Node, index: int, entry: LayerRecord) -> QuantizedRead:
    value = node.inputs[index]
    if value is None or ir.constant_of(value) is not None:
        what = "absent" if value is None else "a constant"
        raise ExportError(f"{entry.key} ({node.op_type}) cannot be quantized: the input is {what}. Remove it from the record.")
    return QuantizedRead(node, index, entry.activation)
