"""Dividing a tensor by constants without a node: the division goes into the weights that the tensor is computed from.

From the tensor upwards, as long as nobody else reads what would be divided (f > 0, one for each channel C):

    max(x, 0), max(x, a·x), MaxPool, AveragePool    divided when their input is: go on above
    x + c                                           c / f, and go on above
    x · c                                           c / f, done
    LayerNormalization                              scale / f and bias / f, done
    x · W (+ b behind it, an Add)                   columns of W / f, done
    Conv, ConvTranspose, Gemm, BatchNormalization   output channels of the weight / f and bias / f, done

A weight that several layers multiply with stays theirs: who has one of its own may be quantized where it could not be before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from amct_lite import ir
from amct_lite.ops import Layer
from amct_lite.passes.channel_affine import LAYERS, ChannelAffine, absorb_after
from amct_lite.passes.constants import set_constant
from amct_lite.passes.readers import sole_reader
from amct_lite.types import AnyArray, FloatArray

_HOMOGENEOUS = frozenset({"Relu", "LeakyRelu"})
_POOLS = frozenset({"MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"})
_ABSORBING = LAYERS | {"BatchNormalization"}
_LAYERS = LAYERS | {"MatMul"}


@dataclass(frozen=True)
class Sinks:
    """What takes the division. constants: (node, input index) of each constant to divide. layer: the one whose output
    channels are divided, None when a constant ends the way."""

    constants: tuple[tuple[ir.Node, int], ...]
    layer: ir.Node | None = None


def along_channels(vector: FloatArray, layer: Layer) -> FloatArray:
    """(C,) shaped to broadcast along the input channels of the data of `layer`."""
    trailing = 0 if layer.channel_axis == -1 else layer.weight_array.ndim - 2
    return vector.reshape(-1, *[1] * trailing)


def foldable(readers: Sequence[Layer]) -> str:
    """The reason why the common data input of `readers` cannot be divided in front; empty when it can."""
    found = _sinks(readers)
    return found if isinstance(found, str) else ""


def fold(readers: Sequence[Layer], factors: FloatArray) -> str:
    """Divide the common data input of `readers` by `factors` in front of it, in place; or say why not (empty: done)."""
    sinks = _sinks(readers)
    if isinstance(sinks, str):
        return sinks
    inverse = along_channels(np.float32(1) / factors, readers[0])
    divided = [(node, index, _times(node, index, inverse)) for node, index in sinks.constants]
    if not all(np.isfinite(array).all() for _, _, array in divided):
        return "a constant in front of it would become too large"
    if sinks.layer is not None:
        scale = 1 / factors.astype(np.float64)
        if reason := absorb_after(sinks.layer, ChannelAffine(scale, np.zeros_like(scale))):
            return reason
    for node, index, array in divided:
        set_constant(node, index, array)
    return ""


def _times(node: ir.Node, index: int, inverse: FloatArray) -> AnyArray:
    constant = ir.constant_of(node.inputs[index])
    assert constant is not None
    with np.errstate(over="ignore"):
        product: AnyArray = (constant.astype(np.float64) * inverse).astype(np.float32)
    return product


def _sinks(readers: Sequence[Layer]) -> Sinks | str:
    first = readers[0]
    value = first.node.inputs[first.data[0]]
    assert value is not None
    known = {(layer.node, layer.data[0]) for layer in readers}
    others = [usage.node.name for usage in ir.uses(value) if (usage.node, usage.idx) not in known]
    if value.is_graph_output():
        return f"its input {value.name} is an output of the model"
    if others:
        return f"its input {value.name} is also read by {others[0]}, which would see it divided"
    constants: list[tuple[ir.Node, int]] = []
    while True:
        node = value.producer()
        if node is None or node.domain not in {"", "ai.onnx"}:
            return f"{value.name} is {'an input of the model' if node is None else f'made by {node.name} ({node.op_type})'}"
        step = _step(node, first)
        if isinstance(step, str):
            return step
        constants += [(node, index) for index in step.constants]
        if step.above is None:
            return Sinks(tuple(constants), node if step.absorbs else None)
        value = step.above
        if sole_reader(value) is not node:
            return f"{value.name}, from which its input is computed, has another reader"


@dataclass(frozen=True)
class _Step:
    constants: tuple[int, ...] = ()
    above: ir.Value | None = None
    absorbs: bool = False


def _step(node: ir.Node, reader: Layer) -> _Step | str:
    """What `node` can do with a division of its output along the channels that `reader` sees."""
    refusal = f"{node.name} ({node.op_type}) in front of it cannot take the factors"
    last = reader.channel_axis == -1
    op_type, inputs = node.op_type, node.inputs
    if op_type in _HOMOGENEOUS or (op_type in _POOLS and not last):
        return _Step(above=inputs[0]) if len(node.outputs) == 1 else refusal
    if op_type in {"Add", "Mul"}:
        constant = next((index for index in (0, 1) if _is_float32(inputs[index])), None)
        if constant is None:
            return refusal
        return _Step((constant,), inputs[1 - constant] if op_type == "Add" else None)
    if op_type == "LayerNormalization" and last and len(node.outputs) == 1:
        indices = tuple(index for index in (1, 2) if index < len(inputs) and inputs[index] is not None)
        return _Step(indices) if all(_is_float32(inputs[index]) for index in indices) else refusal
    if op_type in _LAYERS and inputs[1] is not None and len(ir.uses(inputs[1])) > 1:
        return f"{node.name} ({op_type}) in front of it shares its weight with others"
    if op_type == "MatMul" and last and _is_float32(inputs[1]):
        return _Step((1,))
    if (op_type == "Gemm") if last else (op_type in _ABSORBING):
        return _Step(absorbs=True)
    return refusal


def _is_float32(value: ir.Value | None) -> bool:
    array = ir.constant_of(value)
    return array is not None and array.dtype == np.float32
