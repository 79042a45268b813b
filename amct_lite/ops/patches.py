"""What single output positions of a convolution are computed from: the columns that its weight rows are multiplied with.

Positions are flat indices into (N, *spatial), the output without its channels.
"""

from __future__ import annotations

import numpy as np

from amct_lite import ir
from amct_lite.ir.windows import auto_pad_of, same_pads
from amct_lite.ops.base import Indices, Layer
from amct_lite.types import AnyArray, FloatArray

_SETTLED_PADS = frozenset({"NOTSET", "VALID"})


def conv_columns(layer: Layer, data: AnyArray, spatial: tuple[int, ...], positions: Indices) -> FloatArray:
    """(P, group, Cin / group · kernel) float32: for each of the `positions` what `Layer.rows` of a Conv is multiplied with.

    data: (N, Cin, *) as the layer reads it. spatial: of its output. Padding reads as 0.
    """
    samples, *places = np.unravel_index(positions, (data.shape[0], *spatial))
    kernel = layer.weight_array.shape[2:]
    strides, dilations = _per_axis(layer, "strides", kernel), _per_axis(layer, "dilations", kernel)
    begins = _begins(layer, data.shape[2:])
    reads = [
        place[:, None] * strides[axis] - begins[axis] + np.arange(size) * dilations[axis]
        for axis, (place, size) in enumerate(zip(places, kernel, strict=True))
    ]
    inside = [(read >= 0) & (read < data.shape[2 + axis]) for axis, read in enumerate(reads)]
    return _gather(layer, data, samples, reads, inside)


def conv_transpose_columns(layer: Layer, data: AnyArray, spatial: tuple[int, ...], positions: Indices) -> FloatArray:
    """The same of a ConvTranspose: kernel position k of output position o reads input (o + pad - k · dilation) / stride,
    where that is a whole number and inside of the data."""
    samples, *places = np.unravel_index(positions, (data.shape[0], *spatial))
    kernel = layer.weight_array.shape[2:]
    strides, dilations = _per_axis(layer, "strides", kernel), _per_axis(layer, "dilations", kernel)
    begins = ir.attribute(layer.node, "pads", [0] * 2 * len(kernel))
    spread = [
        place[:, None] + begins[axis] - np.arange(size) * dilations[axis]
        for axis, (place, size) in enumerate(zip(places, kernel, strict=True))
    ]
    reads = [at // stride for at, stride in zip(spread, strides, strict=True)]
    inside = [
        (at % stride == 0) & (read >= 0) & (read < size)
        for at, stride, read, size in zip(spread, strides, reads, data.shape[2:], strict=True)
    ]
    return _gather(layer, data, samples, reads, inside)


def _gather(layer: Layer, data: AnyArray, samples: Indices, reads: list[AnyArray], inside: list[AnyArray]) -> FloatArray:
    """reads, inside: for each spatial axis (P, kernel size), the index read there and whether it lies in the data."""
    rank = len(reads)

    def along(array: AnyArray, axis: int) -> AnyArray:
        return array.reshape(array.shape[0], *(array.shape[1] if other == axis else 1 for other in range(rank)))

    index = [along(np.clip(read, 0, data.shape[2 + axis] - 1), axis) for axis, read in enumerate(reads)]
    samples = samples.reshape(-1, *[1] * rank)
    # The channels come last: the index arrays around the slice are joined and stand in front.
    taken = np.moveaxis(data, 1, -1)[(samples, *index)]
    for axis, valid in enumerate(inside):
        taken *= along(valid, axis)[..., None]
    columns: FloatArray = np.moveaxis(taken, -1, 1).reshape(samples.size, layer.group, -1)
    return columns


def _per_axis(layer: Layer, name: str, kernel: tuple[int, ...]) -> list[int]:
    values: list[int] = ir.attribute(layer.node, name, [1] * len(kernel))
    return values


def _begins(layer: Layer, sizes: tuple[int, ...]) -> list[int]:
    """Padding in front of each axis of a Conv's data of `sizes`."""
    kernel = layer.weight_array.shape[2:]
    mode = auto_pad_of(layer.node)
    if mode in _SETTLED_PADS:
        pads: list[int] = ir.attribute(layer.node, "pads", [0] * 2 * len(kernel)) if mode == "NOTSET" else [0] * len(kernel)
        return pads
    reach = [(taps - 1) * apart + 1 for taps, apart in zip(kernel, _per_axis(layer, "dilations", kernel), strict=True)]
    return same_pads(layer.node, sizes, reach, _per_axis(layer, "strides", kernel))[: len(kernel)]
