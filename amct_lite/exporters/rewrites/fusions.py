"""Fusions of the floats between integers that ONNX Runtime misses, or had better not done."""

from __future__ import annotations

from math import isclose, sqrt

from amct_lite import ir
from amct_lite.exporters.pairs import is_dequantized
from amct_lite.exporters.rewrites.contrib import DOMAIN, import_domain
from amct_lite.ir.build import Inserter
from amct_lite.passes.constants import number_of
from amct_lite.passes.readers import sole_reader

_NEAR = 1e-5
"""Relative: 1.4142 is meant to be the root of 2."""


def name_gelu(erf: ir.Node) -> None:
    """`erf`, of x/√2 in x/2 · (1 + erf): where x is made of codes, the whole becomes the operator that ONNX Runtime has for it.

    It finds it by itself where all read the same x, but before that gives each reader of a DequantizeLinear one of its own.
    """
    data = _multiplied(ir.producer_of(erf.inputs[0]), sqrt(0.5))
    end = _end_of_gelu(erf, data) if is_dequantized(data) else None
    if end is None:
        return
    import_domain(ir.graph_of(end))
    ir.replace_node(end, Inserter(end, str(end.name)).op("Gelu", data, domain=DOMAIN))


def _end_of_gelu(erf: ir.Node, data: ir.Value | None) -> ir.Node | None:
    """The node that gives data/2 · (1 + erf), in whatever order."""
    plus = sole_reader(erf.outputs[0])
    if plus is None or plus.op_type != "Add" or 1 not in map(number_of, plus.inputs):
        return None
    product = sole_reader(plus.outputs[0])
    if product is None or product.op_type != "Mul":
        return None
    other = next((value for value in product.inputs if value is not plus.outputs[0]), None)
    if _multiplied(ir.producer_of(other), 0.5) is data:
        return product
    half = sole_reader(product.outputs[0])
    return half if other is data and _multiplied(half, 0.5) is product.outputs[0] else None


def keep_sum(add: ir.Node) -> None:
    """`add`, of two tensors, is spelled Sum in front of a LayerNormalization: of an Add and what follows ONNX Runtime 1.31
    makes one kernel, which takes two to twenty times as long as the two."""
    constants = (ir.constant_of(value) for value in add.inputs)
    if any(array is not None and array.ndim < 2 for array in constants):  # a bias, which the layer in front takes in
        return
    readers = {use.node.op_type for use in ir.uses(add.outputs[0])}
    if "LayerNormalization" in readers or readers >= {"ReduceMean", "Sub"}:
        add.op_type = "Sum"


def _multiplied(node: ir.Node | None, number: float) -> ir.Value | None:
    """What `node` multiplies by `number`, or divides by its inverse."""
    if node is None or node.op_type not in {"Mul", "Div"}:
        return None
    for index, value in enumerate(node.inputs):
        found = number_of(value)
        if found and isclose(1 / found if node.op_type == "Div" else found, number, rel_tol=_NEAR):
            return node.inputs[1 - index] if node.op_type == "Mul" or index else None
    return None
