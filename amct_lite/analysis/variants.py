"""A layer quantized in another way beside the float layer: its data, its weight or both rounded, computed in float.

Rounding to 8 bits is left to QuantizeLinear and DequantizeLinear; to other widths, which they do not take in every opset, it is
written out in plain operators (integers 4 to 16 bits wide are exact in float32). Sessions of these models are opened with
`alone`, so that ONNX Runtime quantizes nothing on its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from amct_lite import ir
from amct_lite.analysis.local_error import error_sums, twin
from amct_lite.errors import ExportError
from amct_lite.ir.build import Inserter
from amct_lite.numerics.affine import fake_quantize
from amct_lite.ops import Layer, bind
from amct_lite.runtime import NO_INTEGER_KERNELS, RuntimeOptions
from amct_lite.types import AnyArray, FloatArray, QParams

SUMS = "amct.sums"
_NODE_BITS = 8


def alone(options: RuntimeOptions) -> RuntimeOptions:
    """The same without what ONNX Runtime makes of a QuantizeLinear and a DequantizeLinear."""
    return replace(options, session_config=(*options.session_config, NO_INTEGER_KERNELS))


@dataclass(frozen=True, eq=False)
class Variant:
    """How one layer is quantized, alone; each is equal to itself only.

    data: of each data input, None for float. weight: None for float. bias: what it is then, None for the layer's own. source:
    what the weight is rounded from, None for the layer's own. half: all of it in float16 instead. recurrence: as `weight`, for
    that of a hidden state.
    """

    layer: str
    candidate: str
    data: tuple[QParams | None, ...] = ()
    weight: QParams | None = None
    bias: FloatArray | None = None
    source: AnyArray | None = None
    half: bool = False
    recurrence: QParams | None = None

    @property
    def digest(self) -> str:
        """Of all that its effect depends on, beside model and data."""
        digest = hashlib.sha256(repr((self.layer, self.data, self.weight, self.half, self.recurrence)).encode())
        for array in (self.bias, self.source):
            digest.update(b"" if array is None else np.ascontiguousarray(array).data)
        return digest.hexdigest()[:16]


@dataclass(frozen=True)
class Written:
    """sums: four numbers for each variant (Σ y², Σ y_q², Σ (y_q - y)², number of values) in one vector. replaced: for each
    variant every output of its layer → the variant's."""

    sums: ir.Value
    replaced: tuple[dict[ir.Value, ir.Value], ...]


def write_variants(model: ir.Model, variants: Sequence[Variant]) -> Written:
    """Each variant beside its layer, in `model` itself."""
    layers = {node.name: node for node in model.graph}
    writer = _Writer()
    replaced, sums = [], []
    for number, variant in enumerate(variants):
        layer = bind(layers[variant.layer])
        assert isinstance(layer, Layer), "variants are made for layers"
        outputs = writer.write(layer, variant, f".variant{number}")
        output = outputs[layer.output]
        b = Inserter.at_end(model.graph, f"{variant.layer}.error{number}")
        scalars = (*error_sums(b, layer.output, output), b.cast(b.op("Size", output), ir.DataType.FLOAT))
        sums += [b.op("Reshape", scalar, b.constant([1], "int64")) for scalar in scalars]
        replaced.append(outputs)
    return Written(Inserter.at_end(model.graph, SUMS).op("Concat", *sums, axis=0), tuple(replaced))


def with_variants(model: ir.Model, variants: Sequence[Variant]) -> ir.Model:
    """A copy of `model` with each variant beside its layer, whose only output are their sums."""
    result = ir.clone(model)
    written = write_variants(result, variants)
    result.graph.outputs.clear()
    result.graph.outputs.append(written.sums)
    ir.remove_unused(result)
    return result


class _Writer:
    """Remembers what has been rounded, so that variants share it."""

    def __init__(self) -> None:
        self._data: dict[tuple[ir.Value, QParams | None], ir.Value] = {}

    def write(self, layer: Layer, variant: Variant, suffix: str) -> dict[ir.Value, ir.Value]:
        weight, bias = _constants(layer, variant)
        copy = twin(layer, suffix, weight, bias)
        if layer.recurrence is not None and (variant.half or variant.recurrence is not None):
            own = layer.recurrence_array
            other = _half(own) if variant.recurrence is None else rounded_weight(layer, variant.recurrence, own)
            name = f"{copy.name}.recurrence"
            ir.replace_input(copy.node, layer.recurrence, ir.add_initializer(ir.graph_of(copy.node), name, other))
        for position, index in enumerate(layer.data):
            params = variant.data[position] if variant.data else None
            if params is not None or variant.half:
                ir.replace_input(copy.node, index, self._rounded(layer, index, params))
        outputs = dict(zip(layer.outputs, copy.outputs, strict=True))
        if not variant.half:
            return outputs
        b = Inserter.at_end(ir.graph_of(copy.node), f"{layer.name}{suffix}")
        return {exact: _through_half(b, output) for exact, output in outputs.items()}

    def _rounded(self, layer: Layer, index: int, params: QParams | None) -> ir.Value:
        value = layer.node.inputs[index]
        assert value is not None
        if (value, params) not in self._data:
            b = Inserter(layer.node, f"{layer.name}.data{index}")
            self._data[value, params] = _through_half(b, value) if params is None else _through_integers(b, value, params)
        return self._data[value, params]


def _constants(layer: Layer, variant: Variant) -> tuple[FloatArray | None, FloatArray | None]:
    """Weight and bias of the variant, None where they are the layer's own."""
    if variant.half:
        own = layer.bias_array
        return None if layer.weight is None else _half(layer.weight_array), None if own is None else _half(own)
    return None if variant.weight is None else rounded_weight(layer, variant.weight, variant.source), variant.bias


def rounded_weight(layer: Layer, params: QParams, source: AnyArray | None) -> FloatArray:
    """The weight (or `source` in its place), rounded to the integers of `params` and back, in the layout of the model."""
    array = layer.weight_array if source is None else source
    lengths = {1, layer.channels or 1}
    if len(params.scale) not in lengths:
        raise ExportError(
            f"the record has {len(params.scale)} weight scales for {layer.name}; it has {layer.channels} channels."
        )
    rows = fake_quantize(layer.rows(array), params, axis=None if params.per_tensor else 0)
    return np.ascontiguousarray(layer.from_rows(rows, array.shape))


def _through_integers(b: Inserter, value: ir.Value, params: QParams) -> ir.Value:
    """scale · clip(round(x / scale), qmin - zero_point, qmax - zero_point): what Quantize- and DequantizeLinear compute, and by
    these two nodes for 8 bits, which they take in every opset (as uint8: see `exporters.qdq`)."""
    half, zero_point = 1 << (params.bits - 1), params.zero_point[0]
    scale = b.constant(params.scale[0], np.float32)
    if params.bits == _NODE_BITS:
        zero = b.constant(zero_point + half, np.uint8)
        return b.op("DequantizeLinear", b.op("QuantizeLinear", value, scale, zero), scale, zero)
    low, high = (b.constant(bound - zero_point, np.float32) for bound in (-half, half - 1))
    return b.op("Mul", b.op("Clip", b.op("Round", b.op("Div", value, scale)), low, high), scale)


def _through_half(b: Inserter, value: ir.Value) -> ir.Value:
    return b.cast(b.cast(value, ir.DataType.FLOAT16), ir.DataType.FLOAT)


def _half(array: AnyArray) -> FloatArray:
    """Infinite where float16 ends, as a Cast has it."""
    with np.errstate(over="ignore"):
        return array.astype(np.float16).astype(np.float32)
