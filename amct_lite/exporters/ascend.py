"""The deploy model: int8 layers between AscendQuant and AscendDequant, as ATC reads them (contract, section 10). A single
tensor goes through AscendQuant and AscendAntiQuant.

The operators stand in the default ONNX domain without a definition, so onnx.checker refuses the file and only the NPU
tool chain reads it; `validate/lowering.py` turns it into something that stock ONNX Runtime executes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np

from amct_lite import ir
from amct_lite.errors import ExportError
from amct_lite.exporters.atc import for_atc
from amct_lite.exporters.integers import (
    QuantizedLayer,
    attach_bias,
    quantized_bias,
    quantized_weight,
)
from amct_lite.exporters.outputs import quantize_outputs
from amct_lite.exporters.reads import QuantizedRead, in_graph_order
from amct_lite.numerics.packing import pack_int4
from amct_lite.ops.widths import weight_problem
from amct_lite.record import split_key
from amct_lite.types import AnyArray, FloatArray, QParams, QuantRecord

_DST_TYPES = {8: "INT8", 16: "INT16", 4: "INT4"}
_CODE_TYPES = {8: ir.DataType.INT8, 16: ir.DataType.INT16, 4: ir.DataType.INT8}
_RELU6 = 6.0


def export(model: ir.Model, record: QuantRecord) -> ir.Model:
    """A new deploy model; `model` (prepared, every shape static) is not modified.

    Raises ExportError where the record does not fit the model.
    """
    result = for_atc(model, {split_key(e.key)[0] if e.tensor_quantize else e.key for e in record.layers})
    quants: dict[tuple[ir.Value, QParams], ir.Node] = {}
    for item in in_graph_order(result, record):
        if isinstance(item, QuantizedRead):
            _round_trip(item, quants)
        else:
            _quantize_data(item, quants)
            _quantize_constants(item)
            _dequantize_output(item)
    quantize_outputs(result)
    for node in tuple(result.graph):
        if node.op_type == "Clip":
            _relax_clip(node)
    ir.remove_unused(result)
    _require_own_names(result)
    return result


def _require_own_names(model: ir.Model) -> None:
    """The contract fixes how the nodes that are put in are called; the model may have nodes of these names."""
    names = Counter(str(node.name) for node in model.graph)
    if twice := next((name for name, count in names.items() if count > 1), None):
        raise ExportError(
            f"a node of the model is called {twice!r}, as AMCT calls one that the deploy model has around a quantized layer. "
            f"Rename it, or leave that layer in float."
        )


def quant_name(layer: str, position: int) -> str:
    """`<layer>.quant`; the second factor of a product of two variable tensors has `<layer>.quant1`. Of a single tensor,
    `position` is the index of the input."""
    return f"{layer}.quant" if position == 0 else f"{layer}.quant{position}"


def anti_quant_name(node: str, index: int) -> str:
    """`<node>.anti_quant` for input 0, `<node>.anti_quant1` for input 1, and so on."""
    return f"{node}.anti_quant" if index == 0 else f"{node}.anti_quant{index}"


def _output_name(beside: ir.Node, name: str) -> str:
    """`<name>.output0`, if no value of the model is called so."""
    return ir.unique_name(ir.graph_of(beside), f"{name}.output0")


def dequant_param(scales: FloatArray) -> AnyArray:
    """(C,) uint64: the float32 bits of scale_d · scale_w in the low half; shift_n and offset_w (bits 32 to 47) are 0."""
    return scales.astype(np.float32).view(np.uint32).astype(np.uint64)


def dequant_scale(param: AnyArray) -> FloatArray:
    """The inverse of `dequant_param`."""
    return (param & np.uint64(0xFFFFFFFF)).astype(np.uint32).view(np.float32)


def _quantize_data(item: QuantizedLayer, quants: dict[tuple[ir.Value, QParams], ir.Node]) -> None:
    """AscendQuant in front of each data input."""
    layer = item.layer
    for position, index in enumerate(layer.data):
        name = quant_name(layer.name, position)
        ir.replace_input(layer.node, index, _codes(layer.node, index, item.data_params(position), name, quants))


def _codes(
    reader: ir.Node, index: int, params: QParams, name: str, quants: dict[tuple[ir.Value, QParams], ir.Node]
) -> ir.Value:
    """What the AscendQuant of an input gives; readers of one tensor with equal factors share one."""
    value = reader.inputs[index]
    assert value is not None
    if (value, params) not in quants:
        node = ir.new_node(
            "AscendQuant",
            [value],
            name=name,
            attributes={
                "scale": float(np.float32(1.0) / params.scales[0]),
                "offset": float(params.zero_point[0]),
                "dst_type": _DST_TYPES[params.bits],
            },
            outputs=[_output_name(reader, name)],
        )
        ir.insert_before(reader, node)
        _describe(node.outputs[0], value, _CODE_TYPES[params.bits])
        quants[value, params] = node
    return quants[value, params].outputs[0]


def _round_trip(read: QuantizedRead, quants: dict[tuple[ir.Value, QParams], ir.Node]) -> None:
    """AscendQuant and AscendAntiQuant in front of one input. ATC takes the offset off: it negates it for the device, which
    computes (x + offset) · scale."""
    value, params, reader = read.value, read.params, str(read.node.name)
    codes = _codes(read.node, read.index, params, quant_name(reader, read.index), quants)
    name = anti_quant_name(reader, read.index)
    node = ir.new_node(
        "AscendAntiQuant",
        [codes],
        name=name,
        attributes={
            "scale": params.scale[0],
            "offset": float(params.zero_point[0]),
            "dst_type": _DST_TYPES[params.bits],
        },
        outputs=[_output_name(read.node, name)],
    )
    ir.insert_before(read.node, node)
    _describe(node.outputs[0], value, ir.DataType.FLOAT)
    ir.replace_input(read.node, read.index, node.outputs[0])


def _quantize_constants(item: QuantizedLayer) -> None:
    layer = item.layer
    graph = ir.graph_of(layer.node)
    bias = quantized_bias(item)
    if layer.weight is not None:
        codes = quantized_weight(item)
        if item.weight.bits == 4:
            codes = _packed(item, codes)
        ir.replace_input(layer.node, layer.weight, ir.add_initializer(graph, f"{layer.name}.weight", codes))
    if bias is not None:
        attach_bias(layer, ir.add_initializer(graph, f"{layer.name}.bias", bias))


def _packed(item: QuantizedLayer, codes: AnyArray) -> AnyArray:
    """INT4: two codes a byte along the input channels. The initializer is INT8, half as long on that axis."""
    if reason := weight_problem(item.layer, 4, packed=True):
        raise ExportError(f"{item.layer.name} ({item.layer.op_type}): {reason}. Give it wts_type INT8 in the record.")
    assert item.spec.input_axis is not None
    return pack_int4(codes, item.spec.input_axis)


def _dequantize_output(item: QuantizedLayer) -> None:
    """AscendDequant behind the layer (behind the bias Add of a MatMul); it takes over the name of a graph output."""
    layer = item.layer
    graph = ir.graph_of(layer.node)
    output = layer.output
    readers = ir.uses(output)
    param = ir.add_initializer(graph, f"{layer.name}.dequant.param", dequant_param(item.accumulator_scale))
    node = ir.new_node(
        "AscendDequant",
        [output, param],
        name=f"{layer.name}.dequant",
        attributes={"dtype": 0},
        outputs=[_output_name(layer.node, f"{layer.name}.dequant")],
    )
    ir.insert_after(layer.bias_node or layer.node, node)
    _describe(node.outputs[0], output, ir.DataType.FLOAT)
    if output.is_graph_output():
        _take_over_outputs(graph, output, node.outputs[0], ir.unique_name(graph, f"{layer.name}_output0"))
    for usage in readers:
        ir.replace_input(usage.node, usage.idx, node.outputs[0])
    for value in {layer.node.outputs[0], output}:
        value.type = ir.TensorType(ir.DataType.INT32)


def _take_over_outputs(graph: ir.Graph, old: ir.Value, new: ir.Value, internal_name: str) -> None:
    new.name, old.name = old.name, internal_name
    ir.replace_output(graph, old, new)


def _describe(value: ir.Value, like: ir.Value, dtype: ir.DataType) -> None:
    value.shape = like.shape
    value.type = ir.TensorType(dtype)


def _relax_clip(node: ir.Node) -> None:
    """Clip(0, 6) between AscendDequant and AscendQuant becomes Relu where every quant saturates below 6 anyway."""
    bounds = [ir.constant_of(value) for value in node.inputs[1:]]
    source, output = node.inputs[0], node.outputs[0]
    producer = ir.producer_of(source)
    quants = [usage.node for usage in ir.uses(output)]
    if (
        producer is None
        or producer.op_type != "AscendDequant"
        or [None if bound is None else bound.reshape(-1).tolist() for bound in bounds] != [[0.0], [_RELU6]]
        or output.is_graph_output()
        or not quants
        or not _all_saturate(quants)
    ):
        return
    relu = ir.new_node("Relu", [source], name=str(node.name), outputs=[f"{output.name}.relu"])
    ir.insert_before(node, relu)
    _describe(relu.outputs[0], output, ir.DataType.FLOAT)
    ir.redirect(output, relu.outputs[0])
    ir.remove_node(node)


def _all_saturate(quants: Iterable[ir.Node]) -> bool:
    """Whether the largest code of each AscendQuant stands for less than 6."""
    return all(
        node.op_type == "AscendQuant"
        and ir.attribute(node, "dst_type", "INT8") == "INT8"
        and (127 - ir.attribute(node, "offset", 0.0)) / ir.attribute(node, "scale", 1.0) < _RELU6
        for node in quants
    )
