"""What every exporter writes: the layers a record names, and their weights and biases as integers.

Source of the formulas: the AMCT contract, section 5 (round half to even, int32 bias of scale_d · scale_w).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np

from amct_lite import ir
from amct_lite.errors import ExportError
from amct_lite.numerics.affine import quantize
from amct_lite.ops import OPS, Layer, OpSpec, bind
from amct_lite.record import UNIT_WEIGHT, RecurrentRecord
from amct_lite.types import AnyArray, FloatArray, LayerRecord, QParams, QuantRecord

_INT32 = np.iinfo(np.int32)


@dataclass(frozen=True)
class QuantizedLayer:
    """A layer of the model together with its parameters. weight: of the weight, of the second factor of a product of two
    variable tensors, or 1 for an op without either. recurrence: of the weight of the hidden state, where there is one."""

    layer: Layer
    spec: OpSpec
    activation: QParams
    weight: QParams
    recurrence: QParams | None = None

    @property
    def weights(self) -> tuple[tuple[int, QParams], ...]:
        """The index of each constant weight, and its parameters."""
        both = (self.layer.weight, self.weight), (self.layer.recurrence, self.recurrence)
        return tuple((index, params) for index, params in both if index is not None and params is not None)

    def data_params(self, position: int) -> QParams:
        """Parameters of the data input at `position`; the second factor of a variable product has the weight's."""
        return self.activation if position == 0 else self.weight

    @property
    def accumulator_scale(self) -> FloatArray:
        """(1,) or (Cout,) float32: what one step of the int32 accumulator is worth."""
        scale: FloatArray = self.weight.scales * self.activation.scales[0]
        return scale


def quantized_layers(model: ir.Model, record: QuantRecord) -> tuple[QuantizedLayer, ...]:
    """The layers that `record` names, in the order of the graph. Raises ExportError where record and model disagree."""
    wanted = {layer.key: layer for layer in record.layers if not layer.tensor_quantize}
    found: dict[str, QuantizedLayer] = {}
    for node in model.graph:
        if node.name in wanted:
            found[node.name] = _quantized(node, wanted[node.name])
    if missing := [key for key in wanted if key not in found]:
        raise ExportError(f"the record names {missing[0]!r}, which is no node of the model. Check the record against it.")
    return tuple(found.values())


def tables_among(items: Iterable[QuantizedLayer]) -> frozenset[str]:
    """The names of those that are tables, which have no data."""
    return frozenset(item.layer.name for item in items if not item.layer.data)


def _quantized(node: ir.Node, record: LayerRecord) -> QuantizedLayer:
    layer = bind(node)
    if layer is None or isinstance(layer, str):
        reason = layer or "no row of the operator table stands for it"
        raise ExportError(f"{record.key} ({node.op_type}) cannot be quantized: {reason}. Remove it from the record.")
    spec = OPS.get(layer.op_type)
    weightless = layer.weight is None and len(layer.data) == 1
    weight = record.weight or (UNIT_WEIGHT if weightless else None)
    if weight is None:
        raise ExportError(f"the record has no weight scale for {record.key} ({layer.op_type}). Add scale_w and offset_w.")
    recurrence = record.recurrence if layer.recurrence is not None and isinstance(record, RecurrentRecord) else None
    if layer.recurrence is not None and recurrence is None:
        raise ExportError(f"the record has no scale_r for {record.key} ({layer.op_type}). Add scale_r and offset_r.")
    lengths = {1, layer.channels or 1}
    for params in filter(None, (weight, recurrence)):
        if len(params.scale) not in lengths:
            raise ExportError(
                f"the record has {len(params.scale)} weight scales for {record.key} ({layer.op_type}), "
                f"the layer has {layer.channels or 1} output channels. Give 1 or {layer.channels or 1}."
            )
    return QuantizedLayer(layer, spec, record.activation, weight, recurrence)


# Bias correction, exporters and checks ask for the integers of the same weight, each in its own copy of the model.
_CODES: WeakKeyDictionary[ir.TensorProtocol, tuple[object, ir.TensorProtocol]] = WeakKeyDictionary()


def quantized_weight(item: QuantizedLayer) -> AnyArray:
    """The weight as int8, in the layout of the model (not a copy: never write to it)."""
    assert item.layer.weight is not None, f"{item.layer.name} was bound with a constant weight"
    return quantized_at(item.layer, item.layer.weight, item.weight)


def quantized_at(layer: Layer, index: int, params: QParams) -> AnyArray:
    """The weight that is input `index` of the layer, likewise."""
    value = layer.node.inputs[index]
    weight = None if value is None else value.const_value
    assert weight is not None, f"{layer.name} was bound with a constant weight"
    grid = params, layer.weight_axis, layer.group
    known, codes = _CODES.get(weight, (None, weight))
    if known != grid:
        codes = ir.tensor_of(_codes(layer, weight.numpy(), params))
        _CODES[weight] = grid, codes
    return codes.numpy()


def _codes(layer: Layer, array: AnyArray, params: QParams) -> AnyArray:
    rows = quantize(layer.rows(array), params, axis=None if params.per_tensor else 0)
    return layer.from_rows(rows, array.shape).astype(np.int8, copy=False)


def quantized_bias(item: QuantizedLayer) -> AnyArray | None:
    """(Cout,) int32, or None when the layer has no bias. Raises ExportError when a value does not fit."""
    bias = item.layer.bias_array
    if bias is None:
        return None
    with np.errstate(divide="ignore", invalid="ignore"):  # scales of a record whose product is below float32: not finite
        steps = np.rint(bias.astype(np.float64) / item.accumulator_scale.astype(np.float64))
    outside = np.flatnonzero((steps < _INT32.min) | (steps > _INT32.max) | ~np.isfinite(steps))
    if outside.size:
        channel = int(outside[0])
        raise ExportError(
            f"the bias of {item.layer.name} ({item.layer.op_type}) does not fit into int32 in channel {channel}: "
            f"{bias[channel]:.6g} / {item.accumulator_scale[channel % item.accumulator_scale.size]:.6g}. "
            f"Raise scale_d, or scale_w of that channel, in the record, or skip the layer."
        )
    return steps.astype(np.int32)


def attach_bias(layer: Layer, value: ir.Value) -> None:
    """Let `value` be the layer's bias, also where it had none."""
    assert layer.bias is not None
    assert layer.bias_node is not None
    missing = layer.bias + 1 - len(layer.bias_node.inputs)
    if missing > 0:
        layer.bias_node.resize_inputs(layer.bias + 1)
    ir.replace_input(layer.bias_node, layer.bias, value)
