"""y[:, c] = scale[c] · x[:, c] + shift[c], and how a layer takes such a map into its own constants.

With a layer L(x) = W∗x + b that is linear in W and b, and `a` the scale, `t` the shift, both per channel:

    after the layer     a·(W∗x + b) + t  =  (a·W)∗x + (a·b + t)          a, t per output channel
    before the layer    W∗(a·x + t) + b  =  (W·a)∗x + (b + Σ W·t)        a, t per input channel, no padding

Everything is computed in float64 and stored in the type of the weight. A fold that would leave an infinite or NaN
number behind is refused and changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amct_lite import ir
from amct_lite.passes.constants import set_constant
from amct_lite.types import AnyArray, DoubleArray

CONVOLUTIONS = frozenset({"Conv", "ConvTranspose"})
LAYERS = CONVOLUTIONS | {"Gemm"}


@dataclass(frozen=True)
class ChannelAffine:
    """scale, shift : (C,) float64."""

    scale: DoubleArray
    shift: DoubleArray

    @staticmethod
    def identity(channels: int) -> ChannelAffine:
        return ChannelAffine(np.ones(channels), np.zeros(channels))

    def then(self, scale: DoubleArray | float, shift: DoubleArray | float) -> ChannelAffine:
        """This map followed by y ↦ scale·y + shift; (C,) or scalars."""
        return ChannelAffine(self.scale * scale, self.shift * scale + shift)


def batch_norm_affine(node: ir.Node) -> ChannelAffine | str:
    """The map of an inference BatchNormalization, or why it is not a constant one.

    scale = gamma / sqrt(var + epsilon), shift = beta - mean·scale. Source: ONNX operator spec, BatchNormalization.
    """
    if ir.attribute(node, "training_mode", 0) or len(node.outputs) > 1:
        return "it is in training mode: its statistics are those of each batch"
    if not ir.attribute(node, "spatial", 1):
        return "it has spatial=0: its statistics differ from pixel to pixel"
    constants = [ir.constant_of(value) for value in node.inputs[1:5]]
    gamma, beta, mean, var = (None if c is None else c.astype(np.float64) for c in constants)
    if gamma is None or beta is None or mean is None or var is None:
        return "its scale, bias, mean and variance are not all constant"
    with np.errstate(all="ignore"):
        scale = gamma / np.sqrt(var + ir.attribute(node, "epsilon", 1e-5))
        return ChannelAffine(scale, beta - mean * scale)


def channels_out(node: ir.Node) -> int | None:
    """How many channels a layer or a BatchNormalization produces on axis 1; None if its weight is not constant."""
    weight = ir.constant_of(node.inputs[1])
    if weight is None or node.domain:
        return None
    if node.op_type == "ConvTranspose":
        return int(weight.shape[1]) * _group(node)
    if node.op_type == "Gemm":
        return int(weight.shape[0 if ir.attribute(node, "transB", 0) else 1])
    return int(weight.shape[0])


def absorb_after(layer: ir.Node, affine: ChannelAffine) -> str | None:
    """Put `affine`, which follows `layer`, into the weight and bias of `layer`; or say why not (None: done).

    layer: Conv, ConvTranspose, Gemm, or BatchNormalization (whose scale and bias are its weight and bias).
    """
    weight = ir.constant_of(layer.inputs[1])
    channels = channels_out(layer)
    if weight is None or channels is None or not np.issubdtype(weight.dtype, np.floating):
        return f"the weight of {layer.name!r} is not a constant of real numbers"
    if affine.scale.shape != (channels,) or affine.shift.shape != (channels,):
        return f"it has {affine.scale.size} channels, {layer.name!r} has {channels}"
    bias = _bias_of(layer, channels)
    if isinstance(bias, str):
        return bias
    with np.errstate(all="ignore"):
        new_weight = _scale_outputs(layer, weight.astype(np.float64), affine.scale).astype(weight.dtype)
        new_bias = (affine.scale * bias + affine.shift).astype(weight.dtype)
    return _store(layer, weight, new_weight, new_bias)


def absorb_before(layer: ir.Node, affine: ChannelAffine) -> str | None:
    """Put `affine`, in front of the Conv `layer`, into its weight and bias; or say why not (None: done)."""
    weight = ir.constant_of(layer.inputs[1])
    if weight is None or not np.issubdtype(weight.dtype, np.floating):
        return f"the weight of {layer.name!r} is not a constant of real numbers"
    if not _is_unpadded(layer):
        return f"{layer.name!r} pads its input with zeros, which the normalization would not have shifted"
    channels_in = weight.shape[1] * _group(layer)
    if affine.scale.shape != (channels_in,):
        return f"it has {affine.scale.size} channels, {layer.name!r} reads {channels_in}"
    bias = _bias_of(layer, weight.shape[0])
    if isinstance(bias, str):
        return bias
    # Output channel o of group g reads the input channels g·I … g·I + I - 1, where I = weight.shape[1].
    group_of_output = np.arange(weight.shape[0]) * _group(layer) // weight.shape[0]
    scale = affine.scale.reshape(_group(layer), -1)[group_of_output]
    shift = affine.shift.reshape(_group(layer), -1)[group_of_output]
    kernel_axes = (1,) * (weight.ndim - 2)
    with np.errstate(all="ignore"):
        wide = weight.astype(np.float64)
        new_weight = (wide * scale.reshape(*scale.shape, *kernel_axes)).astype(weight.dtype)
        per_input = wide.reshape(*weight.shape[:2], -1).sum(axis=2)
        new_bias = (bias + (per_input * shift).sum(axis=1)).astype(weight.dtype)
    return _store(layer, weight, new_weight, new_bias)


def _group(node: ir.Node) -> int:
    return int(ir.attribute(node, "group", 1))


def _is_unpadded(conv: ir.Node) -> bool:
    mode = ir.attribute(conv, "auto_pad", "NOTSET")
    return mode == "VALID" or (mode == "NOTSET" and not any(ir.attribute(conv, "pads", [])))


def _scale_outputs(layer: ir.Node, weight: DoubleArray, scale: DoubleArray) -> DoubleArray:
    """`weight` with each output channel multiplied by its scale; the layouts are those of the ONNX operator spec."""
    if layer.op_type == "BatchNormalization":
        return weight * scale
    if layer.op_type == "Gemm":
        return weight * (scale[:, None] if ir.attribute(layer, "transB", 0) else scale)
    kernel_axes = (1,) * (weight.ndim - 2)
    if layer.op_type == "Conv":  # (Cout, Cin/g, kernel…)
        return weight * scale.reshape(-1, 1, *kernel_axes)
    # ConvTranspose: (Cin, Cout/g, kernel…); the rows of group g make the output channels g·Cout/g … of that group.
    grouped = weight.reshape(_group(layer), -1, *weight.shape[1:])
    scaled = grouped * scale.reshape(_group(layer), 1, -1, *kernel_axes)
    return scaled.reshape(weight.shape)


def _bias_of(layer: ir.Node, channels: int) -> DoubleArray | str:
    """(C,) float64: the bias, zeros where there is none; or why it cannot be taken."""
    if len(layer.inputs) < 3 or layer.inputs[2] is None:
        return np.zeros(channels)
    bias: NDArray[Any] | None = ir.constant_of(layer.inputs[2])
    if bias is None:
        return f"the bias of {layer.name!r} is not constant"
    if bias.size != 1 and (bias.size != channels or bias.shape[-1] != channels):
        return f"the bias of {layer.name!r} has shape {bias.shape}, not one number per channel"
    beta = float(ir.attribute(layer, "beta", 1.0)) if layer.op_type == "Gemm" else 1.0
    return beta * np.broadcast_to(bias.astype(np.float64).reshape(-1), (channels,))


def _store(layer: ir.Node, weight: AnyArray, new_weight: AnyArray, new_bias: AnyArray) -> str | None:
    if not (np.isfinite(new_weight).all() and np.isfinite(new_bias).all()):
        return f"the weights of {layer.name!r} would become infinite or NaN"
    if not np.array_equal(weight, new_weight):  # a pure bias leaves a shared weight shared
        set_constant(layer, 1, new_weight)
    if len(layer.inputs) > 2 and layer.inputs[2] is not None:
        set_constant(layer, 2, new_bias)
    elif new_bias.any():
        _add_bias(layer, new_bias)
    if layer.op_type == "Gemm" and ir.attribute(layer, "beta", 1.0) != 1.0:
        ir.set_attribute(layer, "beta", 1.0)  # it is in the new bias
    return None


def _add_bias(layer: ir.Node, bias: AnyArray) -> None:
    if layer.graph is None:
        raise ValueError(f"{layer.name!r} stands in no graph")
    if len(layer.inputs) < 3:
        layer.resize_inputs(3)
    ir.replace_input(layer, 2, ir.add_initializer(layer.graph, f"{layer.name}.bias", bias))
