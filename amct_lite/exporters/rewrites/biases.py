"""The bias of a MatMul on integers."""

from __future__ import annotations

import numpy as np

from amct_lite import ir
from amct_lite.exporters.rewrites.contrib import DOMAIN, import_domain
from amct_lite.passes.readers import sole_reader
from amct_lite.types import AnyArray


def take_in_bias(add: ir.Node) -> None:
    """A MatMul of codes by a matrix of codes, and the bias that `add` adds to it, become the one operator that ONNX Runtime has
    for them. By itself it makes that of the MatMul alone, and goes through the results once more; or, where sizes are known, it
    makes a Gemm of both, which takes up to half as long again."""
    matmul = next((node for node in map(ir.producer_of, add.inputs) if node is not None and node.op_type == "MatMul"), None)
    bias = next((value for value in add.inputs if ir.constant_of(value) is not None), None)
    if matmul is None or bias is None or sole_reader(matmul.outputs[0]) is not add:
        return
    data, weight = map(_dequantized, matmul.inputs)
    if data is None or weight is None or not _fit(data, weight, ir.constant_of(bias)):
        return
    for index, value in enumerate((*(value for pair in zip(data, weight, strict=True) for value in pair), bias)):
        ir.replace_input(matmul, index, value)
    matmul.domain, matmul.op_type = DOMAIN, "MatMulIntegerToFloat"
    import_domain(ir.graph_of(matmul))
    ir.replace_node(add, matmul.outputs[0])


def _dequantized(value: ir.Value | None) -> tuple[ir.Value, ...] | None:
    """Codes, scale and zero point, where `value` is made of them."""
    node = ir.producer_of(value)
    if node is None or node.op_type != "DequantizeLinear":
        return None
    inputs = tuple(each for each in node.inputs if each is not None)
    return inputs if len(inputs) == 3 else None


def _fit(data: tuple[ir.Value, ...], weight: tuple[ir.Value, ...], bias: AnyArray | None) -> bool:
    """Whether the kernel takes them: rows of data with one scale, a matrix with one or one a column, a number a column."""
    codes, scale, step = (ir.constant_of(value) for value in (weight[0], weight[1], data[1]))
    if codes is None or scale is None or step is None or bias is None or codes.ndim != 2 or codes.dtype != np.int8:
        return False
    floats = {array.dtype for array in (scale, step, bias)} == {np.dtype(np.float32)}
    columns = codes.shape[1]
    sizes = step.size == 1 and scale.size in {1, columns} and bias.shape == (columns,)
    return floats and sizes and len(ir.dims_of(data[0]) or ()) > 1
