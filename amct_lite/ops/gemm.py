"""Gemm with a constant second input. The preparing passes bring it to transB = 0, alpha = beta = 1."""

from __future__ import annotations

import numpy as np

from amct_lite import ir
from amct_lite.ir.build import Inserter
from amct_lite.numerics.pair_sums import is_crowded
from amct_lite.ops.base import OPS, Columns, Indices, Layer, OpSpec, constant_data, constant_weight, vector_bias
from amct_lite.types import AnyArray, DoubleArray, FloatArray

_SHIFT = 128


def _bind(node: ir.Node) -> Layer | str:
    weight = constant_weight(node, 1)
    if isinstance(weight, str):
        return weight
    if constant_data(node):
        return "its data input is a constant"
    for name, wanted in (("transA", 0), ("transB", 0), ("alpha", 1.0), ("beta", 1.0)):
        if (value := ir.attribute(node, name, wanted)) != wanted:
            return f"{name} is {value}, only {wanted} can be computed on integers"
    if reason := vector_bias(node, 2, weight.shape[1]):
        return reason
    inputs, outputs = weight.shape
    return Layer(
        node,
        weight=1,
        weight_axis=1,
        input_axis=0,
        channel_axis=-1,
        bias=2,
        bias_node=node,
        channels=outputs,
        input_channels=inputs,
    )


def _integer_form(b: Inserter, _node: ir.Node, codes: ir.Value, zero_point: int, weight: ir.Value | None) -> ir.Value:
    assert weight is not None
    return integer_product(b, codes, weight, (zero_point, 0))


def integer_product(b: Inserter, first: ir.Value, second: ir.Value, zero_points: tuple[int, int]) -> ir.Value:
    """Of int8 codes. A second factor of which a column may hold several codes of -128 becomes uint8, every code 128 higher:
    what `numerics/pair_sums.py` says of kernels on ARM holds for signed ones."""
    first_zero, array = b.constant(zero_points[0], np.int8), ir.constant_of(second)
    if array is not None and not is_crowded(array, array.ndim - 1):
        return b.op("MatMulInteger", first, second, first_zero, b.constant(zero_points[1], np.int8))
    higher = b.op("Add", b.cast(second, ir.DataType.INT32), b.constant(_SHIFT, np.int32))
    unsigned = b.cast(higher, ir.DataType.UINT8)
    return b.op("MatMulInteger", first, unsigned, first_zero, b.constant(zero_points[1] + _SHIFT, np.uint8))


def product_shift(_layer: Layer, delta: DoubleArray, mean: DoubleArray) -> DoubleArray | None:
    """E[x] · ΔW for a (K, N) weight; a stack of matrices has no single answer."""
    # Not a BLAS product: its threads would fight with those of the runtime for the cores.
    return np.einsum("k,kn->n", mean, delta) if delta.ndim == 2 else None


def product_columns(layer: Layer) -> Columns | str:
    """The rows of the data, for a (K, N) weight on the right."""
    if layer.weight != 1:
        return "its constant stands on the left"
    return "its weight is a stack of matrices" if layer.weight_array.ndim != 2 else _data_rows


def _data_rows(data: AnyArray, _spatial: tuple[int, ...], positions: Indices) -> FloatArray:
    rows: FloatArray = data.reshape(-1, data.shape[-1])[positions, None]
    return rows


OPS.register("Gemm")(
    OpSpec(
        "Gemm",
        bind=_bind,
        integer_form=_integer_form,
        mean_shift=product_shift,
        columns=product_columns,
        per_channel_on_ascend=False,
        input_axis=0,
    )
)
