"""MatMul with a constant on either side, or of two variable tensors.

A single Add of a constant (Cout,) vector behind a MatMul with a constant right side is its bias (contract, section 6).
"""

from __future__ import annotations

import numpy as np

from amct_lite import ir
from amct_lite.ir.build import Inserter
from amct_lite.ops.base import OPS, Layer, OpSpec, constant_weight
from amct_lite.ops.gemm import integer_product, product_columns, product_shift


def _bind(node: ir.Node) -> Layer | str:
    left, right = (ir.constant_of(value) for value in node.inputs)
    if left is not None and right is not None:
        return "both inputs are constants"
    variable = [value for value, array in zip(node.inputs, (left, right), strict=True) if value is not None and array is None]
    if any(value.shape is not None and value.shape.rank() == 1 for value in variable):
        return "one of its inputs is a vector (1-D)"
    if left is None and right is None:
        return Layer(node, data=(0, 1))
    index = 0 if left is not None else 1
    weight = constant_weight(node, index)
    if isinstance(weight, str):
        return weight
    if weight.ndim < 2:
        return "its weight is a vector (1-D)"
    if index == 0:
        return Layer(node, data=(1,), weight=0, weight_axis=weight.ndim - 2, channels=weight.shape[-2])
    bias_add = _bias_add(node, weight.shape[-1])
    return Layer(
        node,
        weight=1,
        weight_axis=weight.ndim - 1,
        input_axis=weight.ndim - 2,
        channel_axis=-1,
        bias=1 if bias_add else None,
        bias_node=bias_add,
        channels=weight.shape[-1],
        input_channels=weight.shape[-2],
    )


def _bias_add(node: ir.Node, channels: int) -> ir.Node | None:
    """The Add that holds the bias: the only reader of the product, with a constant (Cout,) as second input."""
    output = node.outputs[0]
    readers = ir.uses(output)
    if output.is_graph_output() or len(readers) != 1:
        return None
    add = readers[0].node
    if add.op_type != "Add" or add.domain or add.graph is not node.graph or readers[0].idx != 0:
        return None
    bias = ir.constant_of(add.inputs[1])
    fits = bias is not None and bias.shape == (channels,) and bias.dtype == np.float32 and np.isfinite(bias).all()
    return add if fits else None


def _integer_form(b: Inserter, node: ir.Node, codes: ir.Value, zero_point: int, other: ir.Value | None) -> ir.Value:
    """`other` is symmetric (zero point 0) on whichever side it stands."""
    assert other is not None
    if ir.constant_of(node.inputs[0]) is not None:
        return integer_product(b, other, codes, (0, zero_point))
    return integer_product(b, codes, other, (zero_point, 0))


def _ascend(layer: Layer) -> str | None:
    if layer.weight == 0:
        return "ATC takes a MatMul only with its constant as second input"
    if layer.weight is not None and layer.weight_array.ndim > 3:
        return f"ATC takes a MatMul weight of 2 or 3 dimensions, this one has {layer.weight_array.ndim}"
    return None


def _ort(layer: Layer) -> str | None:
    if layer.weight is None:
        return "ONNX Runtime multiplies two activations faster in float than it rounds both"
    return "ONNX Runtime has no integer kernel for a constant as first factor" if layer.weight == 0 else None


OPS.register("MatMul")(
    OpSpec(
        "MatMul",
        bind=_bind,
        integer_form=_integer_form,
        mean_shift=product_shift,
        columns=product_columns,
        ascend=_ascend,
        per_channel_on_ascend=False,
        input_axis=-2,
        ort=_ort,
        per_channel_on_ort=lambda layer: layer.weight_array.ndim == 2,
    )
)
