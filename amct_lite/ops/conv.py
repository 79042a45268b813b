"""Conv and ConvTranspose, 1-D to 3-D, grouped and depthwise.

Weight layouts (ONNX): Conv (Cout, Cin/g, k…); ConvTranspose (Cin, Cout/g, k…), output channels group by group.
"""

from __future__ import annotations

from functools import partial
from math import prod
from typing import Any

import numpy as np

from amct_lite import ir
from amct_lite.ir.build import Inserter
from amct_lite.ir.windows import has_doubtful_pads
from amct_lite.ops.base import OPS, Columns, Layer, OpSpec, constant_data, constant_weight, vector_bias
from amct_lite.ops.patches import conv_columns, conv_transpose_columns
from amct_lite.ops.phases import phases_of
from amct_lite.types import AnyArray, DoubleArray

_GEOMETRY = ("auto_pad", "dilations", "group", "kernel_shape", "output_padding", "output_shape", "pads", "strides")


def _bind(node: ir.Node, *, transposed: bool) -> Layer | str:
    weight = constant_weight(node, 1)
    if isinstance(weight, str):
        return weight
    if constant_data(node):
        return "its data input is a constant"
    group = int(ir.attribute(node, "group", 1))
    channels = weight.shape[1] * group if transposed else weight.shape[0]
    if reason := vector_bias(node, 2, channels):
        return reason
    return Layer(
        node,
        weight=1,
        weight_axis=1 if transposed else 0,
        input_axis=0 if transposed else 1,
        channel_axis=1,
        bias=2,
        bias_node=node,
        channels=channels,
        input_channels=weight.shape[0] if transposed else weight.shape[1] * group,
        group=group,
    )


def _geometry(node: ir.Node) -> dict[str, Any]:
    return {name: ir.attribute(node, name, None) for name in _GEOMETRY if name in node.attributes}


def _integer_conv(b: Inserter, node: ir.Node, codes: ir.Value, zero_point: int, weight: ir.Value | None) -> ir.Value:
    """ConvInteger wants unsigned data: codes and zero point both move up by 128, which changes no product."""
    shifted = b.op("Add", b.cast(codes, ir.DataType.INT32), b.constant(128, np.int32))
    data = b.cast(shifted, ir.DataType.UINT8)
    return b.op("ConvInteger", data, weight, b.constant(zero_point + 128, np.uint8), **_geometry(node))


def _integer_conv_transpose(b: Inserter, node: ir.Node, codes: ir.Value, zero_point: int, weight: ir.Value | None) -> ir.Value:
    """ONNX has no integer ConvTranspose. Each code splits into 16·high + low; both halves go through the float kernel,
    where every partial sum stays below 2^24 (exact in float32) up to 8,000 terms, and join again in int32."""
    assert weight is not None
    centred = b.op("Sub", b.cast(b.cast(codes, ir.DataType.INT32), ir.DataType.FLOAT), b.constant(zero_point, np.float32))
    sixteen = b.constant(16.0, np.float32)
    high = b.op("Floor", b.op("Div", centred, sixteen))
    low = b.op("Sub", centred, b.op("Mul", high, sixteen))
    kernel = b.cast(weight, ir.DataType.FLOAT)
    halves = [b.cast(b.op("ConvTranspose", half, kernel, **_geometry(node)), ir.DataType.INT32) for half in (high, low)]
    return b.op("Add", b.op("Mul", halves[0], b.constant(16, np.int32)), halves[1])


def _conv_shift(layer: Layer, delta: DoubleArray, mean: DoubleArray) -> DoubleArray:
    """Σ over kernel and input channels of ΔW·E[x], where a kernel position that lies in the zero padding for a part of
    the outputs counts for the rest only (as far as the size of the input is known)."""
    expected = (mean[:, None] * _inside(layer, delta.shape[2:]).reshape(-1)).reshape(layer.group, -1)
    shift: DoubleArray = np.einsum("gok,gk->go", delta.reshape(layer.group, -1, expected.shape[1]), expected).reshape(-1)
    return shift


def _inside(layer: Layer, kernel: tuple[int, ...]) -> DoubleArray:
    """Shape `kernel`: the share of output positions for which each kernel position reads data instead of padding."""
    node = layer.node
    spatial = len(kernel)
    dims = ir.dims_of(node.inputs[0]) or (None,) * (spatial + 2)
    pads = ir.attribute(node, "pads", [0] * 2 * spatial)
    strides = ir.attribute(node, "strides", [1] * spatial)
    dilations = ir.attribute(node, "dilations", [1] * spatial)
    share: DoubleArray = np.ones(kernel)
    if ir.attribute(node, "auto_pad", "NOTSET") not in {"NOTSET", "VALID"}:
        return share
    for axis, (size, length) in enumerate(zip(kernel, dims[2:], strict=True)):
        if not isinstance(length, int):
            continue
        before, after = pads[axis], pads[axis + spatial]
        outputs = (length + before + after - dilations[axis] * (size - 1) - 1) // strides[axis] + 1
        read = np.arange(outputs)[None] * strides[axis] - before + np.arange(size)[:, None] * dilations[axis]
        along = ((read >= 0) & (read < length)).mean(axis=1)
        share = share * along.reshape([-1 if i == axis else 1 for i in range(spatial)])
    return share


def _conv_transpose_shift(layer: Layer, delta: DoubleArray, mean: DoubleArray) -> DoubleArray:
    """As for Conv; an output position is reached by 1 / (product of the strides) of the kernel on average."""
    reach = prod(ir.attribute(layer.node, "strides", [1]))
    per_input = delta.reshape(layer.group, -1, delta.shape[1], prod(delta.shape[2:])).sum(axis=3) / reach
    shift: DoubleArray = np.einsum("gio,gi->go", per_input, mean.reshape(layer.group, -1)).reshape(-1)
    return shift


def _conv_columns(layer: Layer) -> Columns | str:
    if has_doubtful_pads(layer.node, layer.weight_array.shape[2:]):
        return "its padding follows from the size of its data, and a stride is far wider than its kernel: runtimes differ there"
    return partial(conv_columns, layer)


def _transpose_columns(layer: Layer) -> Columns | str:
    if "output_shape" in layer.node.attributes or ir.attribute(layer.node, "auto_pad", "NOTSET") not in {"NOTSET", "VALID"}:
        return "its padding follows from the size of its output"
    return partial(conv_transpose_columns, layer)


def _ort_conv(layer: Layer) -> str | None:
    """The integer kernel of a convolution in 3-D is the faster one from 8 channels on, in fours, and from 16 on of any number
    (3 channels take 4 to 10 times as long as in float, 8 0.9, 16 0.5 to 0.6, 15 up to 1.7); a depthwise one takes 0.2 to 0.6
    (ONNX Runtime 1.31, `tools/bench/kernels.py deep`). Groups count together: the exporter joins them.
    """
    outputs, inputs, *kernel = layer.weight_array.shape
    count, is_depthwise = inputs * layer.group, inputs == 1 and outputs == layer.group > 1
    if len(kernel) < 3 or is_depthwise or count >= 16 or (count >= 8 and count % 4 == 0):
        return None
    return f"a convolution in 3-D over {count} channel{'s' if count > 1 else ''} takes longer on integers"


def _ort_transpose(layer: Layer) -> str | None:
    phases = phases_of(layer.node, layer.weight_array.shape[2:])
    if isinstance(phases, str):
        return f"ONNX Runtime has no integer kernel for ConvTranspose on CPUs, and this one becomes no Conv: {phases}"
    return None


def _ascend_conv(layer: Layer) -> str | None:
    rank = layer.weight_array.ndim
    if rank not in {4, 5}:
        return f"ATC takes Conv with 4-D or 5-D input only, this one has {rank}-D"
    if rank == 5 and ir.attribute(layer.node, "dilations", [1])[0] != 1:
        return "ATC takes a 5-D Conv only with depth dilation 1"
    return None


def _ascend_conv_transpose(layer: Layer) -> str | None:
    rank = layer.weight_array.ndim
    return None if rank == 4 else f"ATC takes ConvTranspose with 4-D input only, this one has {rank}-D"


def _along_channels(bias: AnyArray, rank: int) -> AnyArray:
    return bias.reshape(-1, *[1] * (rank - 2))


OPS.register("Conv")(
    OpSpec(
        "Conv",
        bind=lambda node: _bind(node, transposed=False),
        integer_form=_integer_conv,
        mean_shift=_conv_shift,
        columns=_conv_columns,
        ascend=_ascend_conv,
        ascend_symmetric=lambda layer: layer.weight_array.ndim == 5,
        ort=_ort_conv,
        channel_shape=_along_channels,
        input_axis=1,
        output_axis=0,
    )
)
OPS.register("ConvTranspose")(
    OpSpec(
        "ConvTranspose",
        bind=lambda node: _bind(node, transposed=True),
        integer_form=_integer_conv_transpose,
        mean_shift=_conv_transpose_shift,
        columns=_transpose_columns,
        ascend=_ascend_conv_transpose,
        ort=_ort_transpose,
        channel_shape=_along_channels,
        input_axis=0,
        output_axis=1,
    )
)
