"""The fake-quant model: QuantizeLinear/DequantizeLinear pairs that any ONNX Runtime executes.

Every layer of the record reads its data through Q and DQ, its int8 weight through DQ, its int32 bias through DQ, so that
the float kernels compute what the integer kernels of the deploy model compute. A layer with float weights never reads a
dequantized tensor: ONNX Runtime would quantize its weights on its own. A single tensor of the record has Q and DQ in front
of the one input that is named.
"""

from __future__ import annotations

from math import prod

import numpy as np

from amct_lite import ir
from amct_lite.exporters.all_axes import name_all_axes
from amct_lite.exporters.integers import (
    QuantizedLayer,
    attach_bias,
    quantized_at,
    quantized_bias,
    quantized_weight,
)
from amct_lite.exporters.pairs import UNSIGNED_SHIFT
from amct_lite.exporters.reads import QuantizedRead, in_graph_order
from amct_lite.exporters.resizes import keep_channels_first
from amct_lite.exporters.transposes import keep_unrounded
from amct_lite.ir.build import Inserter
from amct_lite.numerics.affine import dequantize
from amct_lite.ops import Layer
from amct_lite.ops.widths import with_codes
from amct_lite.types import AnyArray, QParams, QuantRecord

_SIGNED = {4: np.int8, 8: np.int8, 16: np.int16}
_UNSIGNED_FROM = 21
"""From this opset on codes of 8 bits are uint8, the same grid with every code 128 higher. ONNX Runtime (1.31, x86) makes that
of int8 itself, but where it moved the rounding behind a Reshape or Transpose first, it wrote the type down (`output_dtype`,
which that opset brought), and then refuses its own node."""


def export(model: ir.Model, record: QuantRecord) -> ir.Model:
    """A new model in which each layer and tensor of `record` is quantized; `model` (prepared, opset >= 13) is not modified.

    Raises ExportError where the record does not fit the model, UnsupportedModelError where 16-bit codes need an opset that
    the model cannot be raised to.
    """
    bits = {layer.activation.bits for layer in record.layers}
    result, _ = with_codes(ir.clone(model), bits)
    ir.merge_constants(result.graph)
    name_all_axes(result)
    writer = _Writer(unsigned=ir.opset(result) >= _UNSIGNED_FROM)
    for item in in_graph_order(result, record):
        if isinstance(item, QuantizedRead):
            writer.quantize_read(item)
        else:
            writer.quantize_layer(item)
    keep_channels_first(result)
    keep_unrounded(result)
    ir.remove_unused(result)
    return result


def rows_prefix(table: str) -> str:
    """What the nodes are called by that make floats of the rows that are picked of a table."""
    return f"{table}.rows"


def data_prefix(layer: str, position: int) -> str:
    """What the names of the nodes on a layer's data input start with; of a single tensor, `position` is the input's index."""
    return f"{layer}.data{position}"


class _Writer:
    """Remembers what has been written, so that a tensor or weight read by several layers is quantized once. unsigned: whether
    codes of 8 bits are."""

    def __init__(self, *, unsigned: bool) -> None:
        self._unsigned = unsigned
        self._activations: dict[tuple[ir.Value, QParams], ir.Value] = {}
        self._weights: dict[tuple[ir.Value, QParams, tuple[int, int] | None], ir.Value] = {}
        self._tables: dict[tuple[ir.Value, QParams], tuple[ir.Value, ...]] = {}

    def quantize_layer(self, item: QuantizedLayer) -> None:
        layer = item.layer
        bias = quantized_bias(item)
        for position, index in enumerate(layer.data):
            prefix = data_prefix(layer.name, position)
            ir.replace_input(layer.node, index, self._activation(layer.node, index, item.data_params(position), prefix))
        if not layer.data:
            _pick_codes(layer, *self._table(item))
        for index, params in item.weights if layer.data else ():
            ir.replace_input(layer.node, index, self._weight(layer, index, params))
        if bias is not None:
            attach_bias(layer, self._bias(item, bias))

    def quantize_read(self, read: QuantizedRead) -> None:
        prefix = data_prefix(str(read.node.name), read.index)
        ir.replace_input(read.node, read.index, self._activation(read.node, read.index, read.params, prefix))

    def _activation(self, node: ir.Node, index: int, params: QParams, prefix: str) -> ir.Value:
        value = node.inputs[index]
        assert value is not None
        if (value, params) not in self._activations:
            b = Inserter(node, prefix)
            scale = b.constant(params.scale[0], np.float32)
            zero_point = self._zero_point(b, params)
            codes = b.op("QuantizeLinear", _saturated(b, value, params), scale, zero_point)
            self._activations[value, params] = b.op("DequantizeLinear", codes, scale, zero_point)
        return self._activations[value, params]

    def _zero_point(self, b: Inserter, params: QParams) -> ir.Value:
        signed = _SIGNED[params.bits]
        if self._unsigned and signed is np.int8:
            return b.constant(params.zero_point[0] + UNSIGNED_SHIFT, np.uint8)
        return b.constant(params.zero_point[0], signed)

    def _weight(self, layer: Layer, index: int, params: QParams) -> ir.Value:
        value = layer.node.inputs[index]
        assert value is not None
        # Readers of one weight may hold its channels along different axes (a tied decoder): equal scales mean another grid.
        along = None if params.per_tensor else (layer.weight_axis, layer.group)
        if (value, params, along) not in self._weights:
            b = Inserter(layer.node, f"{layer.name}.{'weight' if index == layer.weight else 'recurrence'}")
            self._weights[value, params, along] = _dequantized_weight(b, layer, quantized_at(layer, index, params), params)
        return self._weights[value, params, along]

    def _table(self, item: QuantizedLayer) -> tuple[ir.Value, ...]:
        """Codes, scales and zero points."""
        value = item.layer.weight_value
        assert value is not None
        if (value, item.weight) not in self._tables:
            b, scales = Inserter(item.layer.node, f"{item.layer.name}.weight"), item.weight.scales
            scales = scales.reshape(()) if item.weight.per_tensor else scales
            # Behind what moves the rows ONNX Runtime up to 1.23 rounds again; without zero points their type is uint8 to it.
            zeros = np.zeros(scales.shape, np.int8)
            self._tables[value, item.weight] = b.constant(quantized_weight(item)), b.constant(scales), b.constant(zeros)
        return self._tables[value, item.weight]

    @staticmethod
    def _bias(item: QuantizedLayer, steps: AnyArray) -> ir.Value:
        b = Inserter(item.layer.bias_node or item.layer.node, f"{item.layer.name}.bias")
        return _dequantize(b, steps, item.accumulator_scale, axis=0)


def _pick_codes(layer: Layer, codes: ir.Value, *grid: ir.Value) -> None:
    """Rows of codes are picked of the table, and made floats behind that."""
    node, result = layer.node, layer.output
    graph, readers, name = ir.graph_of(node), ir.uses(result), str(result.name)
    ir.replace_input(node, 0, codes)
    result.type = ir.TensorType(ir.DataType.INT8)
    rows = Inserter.behind(node, rows_prefix(str(node.name))).op("DequantizeLinear", result, *grid, axis=-1)
    result.name, rows.name = ir.unique_name(graph, f"{name}.codes"), name
    rows.type, rows.shape = ir.TensorType(ir.DataType.FLOAT), result.shape
    ir.redirect(result, rows, readers)
    ir.replace_output(graph, result, rows)


def _saturated(b: Inserter, value: ir.Value, params: QParams) -> ir.Value:
    """4-bit codes travel as int8, which runs everywhere; the value is clipped to where they saturate."""
    if params.bits != 4:
        return value
    low, high = dequantize(np.array([-8, 7]), params)
    return b.op("Clip", value, b.constant(low, np.float32), b.constant(high, np.float32))


def _dequantize(b: Inserter, codes: AnyArray, scales: AnyArray, *, axis: int) -> ir.Value:
    """Per tensor where there is one scale, else along `axis`. The zero point is 0, which is what an absent one means; but of a
    matrix with a scale for each channel ONNX Runtime up to 1.23 makes an integer product that then wants as many of them."""
    if scales.size == 1:
        return b.op("DequantizeLinear", b.constant(codes), b.constant(scales.reshape(())))
    zeros = [b.constant(np.zeros(scales.shape, codes.dtype))] if codes.ndim == 2 else []
    return b.op("DequantizeLinear", b.constant(codes), b.constant(scales), *zeros, axis=axis)


def _dequantized_weight(b: Inserter, layer: Layer, codes: AnyArray, params: QParams) -> ir.Value:
    if codes.ndim > 2 and layer.weight_axis == codes.ndim - 1 and not params.per_tensor:
        # Of a stack of matrices ONNX Runtime makes an integer product that then refuses to run with a scale for each channel.
        matrix = _dequantize(b, codes.reshape(-1, codes.shape[-1]), params.scales, axis=1)
        return b.op("Reshape", matrix, b.constant(list(codes.shape), np.int64))
    if layer.group == 1 or layer.weight_axis == 0 or params.per_tensor:
        return _dequantize(b, codes, params.scales, axis=layer.weight_axis)
    # The output channels of a grouped ConvTranspose lie on two axes: dequantize rows, then bring them into its layout.
    shape = codes.shape
    group, inputs, outputs, kernel = layer.group, shape[0] // layer.group, shape[1], prod(shape[2:])
    rows = _dequantize(b, layer.rows(codes), params.scales, axis=0)
    blocks = b.op("Reshape", rows, b.constant([group, outputs, inputs, kernel], np.int64))
    swapped = b.op("Transpose", blocks, perm=[0, 2, 1, 3])
    return b.op("Reshape", swapped, b.constant(list(shape), np.int64))
