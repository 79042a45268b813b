"""The layers whose operations are counted, and the bits in which they compute and store: all in float, or as a record says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod

from amct_lite import ir
from amct_lite.diagnosis.flops import COUNTED, UNCOUNTED, Work, work_of
from amct_lite.diagnosis.memory import Forms
from amct_lite.ops import OPS, Layer, bind
from amct_lite.record import split_key
from amct_lite.types import QuantRecord, Skip

_BIAS_BITS = 32
_FLOATS = frozenset({ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.DOUBLE})


@dataclass(frozen=True)
class Counted:
    """A node with products. layer: how it can be quantized, None where it cannot."""

    node: ir.Node
    layer: Layer | None
    work: Work

    @property
    def name(self) -> str:
        return str(self.node.name)

    @property
    def output(self) -> ir.Value:
        return self.layer.output if self.layer else self.node.outputs[0]

    @property
    def flops(self) -> int:
        given = self.node.inputs[self._bias : self._bias + 1]
        bias = any(is_bias for _, is_bias in self.constants.values()) or any(value is not None for value in given)
        return self.work.flops(bias=bias)

    @cached_property
    def constants(self) -> Mapping[ir.Usage, tuple[int, bool]]:
        """Where the layer reads constants: how many elements, and whether they are the bias."""
        places = {ir.Usage(self.node, index): index >= self._bias for index in range(len(self.node.inputs))}
        if self.layer and self.layer.bias_node is not None and self.layer.bias_node is not self.node:
            places[ir.Usage(self.layer.bias_node, self.layer.bias or 0)] = True
        arrays = ((place, ir.constant_of(place.node.inputs[place.idx]), bias) for place, bias in places.items())
        return {place: (array.size, bias) for place, array, bias in arrays if array is not None}

    @property
    def _bias(self) -> int:
        return OPS.get(self.node.op_type).bias


@dataclass(frozen=True)
class Arithmetic:
    """forms: of the tensors, and bits of what is not quantized. record: what is."""

    name: str
    forms: Forms
    record: QuantRecord | None = None

    @staticmethod
    def of(record: QuantRecord, model: ir.Model, float_bits: int, floats: Mapping[str, int]) -> Arithmetic:
        """What `record` makes of `model`; the rest computes in floats of `float_bits`, some nodes in others (`floats`)."""
        readers = {split_key(entry.key): entry.activation for entry in record.layers if entry.tensor_quantize}
        for node in model.graph:
            entry = record.by_key.get(str(node.name))
            layer = bind(node) if entry is not None else None
            if entry is not None and isinstance(layer, Layer):
                factors = (entry.activation, entry.weight or entry.activation)
                readers |= {(layer.name, index): params for index, params in zip(layer.data, factors, strict=False)}
        return Arithmetic("record", Forms(float_bits, readers, floats), record)

    def bits(self, item: Counted) -> tuple[int, int]:
        """Of its activation and its weight (of both factors, where both are data)."""
        entry = self.record.by_key.get(item.name) if self.record else None
        if entry is None or entry.tensor_quantize:
            own = self.forms.float_of(item.node)
            return own, own
        return entry.activation.bits, entry.weight.bits if entry.weight else entry.activation.bits

    def stored_bits(self, item: Counted, is_bias: bool) -> int:
        """Of a constant of a layer; the bias of a quantized one counts steps of its accumulator."""
        quantized = self.record is not None and item.name in self.record.by_key
        return (_BIAS_BITS if is_bias else self.bits(item)[1]) if quantized else self.forms.float_of(item.node)


def count_work(model: ir.Model) -> tuple[tuple[Counted, ...], tuple[Skip, ...]]:
    """The layers of the main graph of `model` (shapes settled), and the nodes with operations that are not counted."""
    counted: list[Counted] = []
    skips: list[Skip] = []
    for node in model.graph:
        work, layer = work_of(node), bind(node)
        if work is None and isinstance(layer, Layer) and not layer.data:
            work = Work(0, 0)  # a table: it counts by its bytes
        if isinstance(work, Work):
            counted.append(Counted(node, layer if isinstance(layer, Layer) else None, work))
        elif reason := work or _unknown(node):
            skips.append(Skip(str(node.name), node.op_type, reason))
    inner = (node for node in model.graph.all_nodes() if node.graph is not model.graph)
    skips += [
        Skip(
            str(node.name), node.op_type, "it stands inside the body of a control-flow node, which may run any number of times"
        )
        for node in inner
        if node.op_type in COUNTED or _unknown(node)
    ]
    return tuple(counted), tuple(skips)


def _unknown(node: ir.Node) -> str:
    """The reason to name a node whose operations nobody here can count; empty for one that has no products."""
    if node.domain not in {"", "ai.onnx"}:
        return f"nothing is known of operators of the domain {node.domain}"
    return f"there is no formula for {node.op_type}" if node.op_type in UNCOUNTED else ""


def float_constants(model: ir.Model) -> dict[ir.Value, int]:
    """The constants of floats in `model` and the bodies of its control-flow nodes, each with its number of elements."""
    found = [(value, value.const_value) for graph in model.graphs() for value in graph.initializers.values()]
    for node in model.graph.all_nodes():
        tensor = node.attributes.get("value") if node.op_type == "Constant" else None
        if tensor is not None and tensor.type == ir.AttributeType.TENSOR:
            found.append((node.outputs[0], tensor.as_tensor()))
    return {
        value: prod(tensor.shape.numpy())
        for value, tensor in found
        if tensor is not None and tensor.dtype in _FLOATS and value.uses()
    }


def packed_bytes(elements: int, bits: int) -> int:
    """Bytes of so many elements at `bits` each."""
    return -(-elements * bits // 8)
