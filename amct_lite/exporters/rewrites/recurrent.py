"""The int8 kernel that ONNX Runtime has for LSTM, which rounds the data and the hidden state by their range at each step."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from amct_lite import ir
from amct_lite.exporters.integers import QuantizedLayer, quantized_at
from amct_lite.exporters.pairs import quantizer_in_front
from amct_lite.exporters.rewrites.contrib import DOMAIN, import_domain
from amct_lite.ir.build import Inserter
from amct_lite.numerics.pair_sums import with_one_extreme
from amct_lite.ops import Layer
from amct_lite.passes.bound_parts import BOUNDS
from amct_lite.types import AnyArray, QParams

_LSTM_INPUTS = 8
_Weight = tuple[ir.Value, ir.Value, ir.Value]


def use_kernel(model: ir.Model, items: Iterable[QuantizedLayer]) -> None:
    """`items`: the LSTMs of the record, which `model` has under their names, reading the same weights through pairs."""
    nodes = {str(node.name): node for node in model.graph}
    written: dict[tuple[ir.Value | None, int], _Weight] = {}
    for item in items:
        node = nodes[item.layer.name]
        b = Inserter(node, f"{node.name}.int8")
        for index, params in item.weights:
            if (node.inputs[index], index) not in written:  # who shares a weight shares what becomes of it
                codes = quantized_at(item.layer, index, params)
                written[node.inputs[index], index] = _as_kernel_wants(b, item.layer, codes, params)
        (weight, *scales), (weight_of_state, *scales_of_state) = (written[node.inputs[i], i] for i, _ in item.weights)
        inputs = [*node.inputs, *[None] * (_LSTM_INPUTS - len(node.inputs)), *scales, *scales_of_state]
        inputs[:3] = _data(node), weight, weight_of_state
        node.resize_inputs(len(inputs))
        for index, value in enumerate(inputs):
            node.replace_input_with(index, value)
        node.domain, node.op_type = DOMAIN, "DynamicQuantizeLSTM"
        node.attributes.pop("layout", None)
        import_domain(model.graph)


def _as_kernel_wants(b: Inserter, layer: Layer, codes: AnyArray, params: QParams) -> _Weight:
    """The codes (directions, inputs, 4·hidden), and their scale and zero point: of each direction, or of each of its rows."""
    scales = np.repeat(params.scales, layer.group) if params.per_tensor else params.scales.reshape(layer.group, -1)
    rows = with_one_extreme(codes.reshape(-1, codes.shape[-1]), axis=0)
    swapped = np.ascontiguousarray(rows.reshape(codes.shape).transpose(0, 2, 1))
    return b.constant(swapped), b.constant(scales), b.constant(np.zeros(scales.shape, np.int8))


def _data(node: ir.Node) -> ir.Value | None:
    """What it reads: the codes that integers were handed on as, else floats, which the kernel alone rounds."""
    data = node.inputs[0]
    quantize = quantizer_in_front(data)
    source = quantize.inputs[0] if quantize is not None else None
    maker = ir.producer_of(source)
    if maker is not None and maker.op_type in BOUNDS:
        maker = ir.producer_of(maker.inputs[0])
    return data if source is None or (maker is not None and any(map(quantizer_in_front, maker.inputs))) else source
