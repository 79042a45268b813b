"""What ONNX Runtime makes slow of the floats between integers: fusions that it misses there, or had better not done, and
numbers that are almost zero."""

from __future__ import annotations

from math import isclose, sqrt

import numpy as np

from amct_lite import ir
from amct_lite.exporters.pairs import is_dequantized
from amct_lite.exporters.rewrites.contrib import DOMAIN, import_domain
from amct_lite.exporters.rewrites.neighbours import source_of
from amct_lite.ir.build import Inserter
from amct_lite.passes.constants import number_of
from amct_lite.passes.readers import sole_reader

_NEAR = 1e-5
"""Relative: 1.4142 is meant to be the root of 2."""
_MASK = (-120.0, -70.0)
"""What is added to the scores that do not count, and gives denormal exponentials; of less they are zero."""
_NOTHING = 1e-30
"""Far below the last bit of what is above 1e-22, and above all denormal numbers."""


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


def drop_denormals(softmax: ir.Node) -> None:
    """Behind `softmax`, of scores with a mask, what is almost zero becomes zero: with denormal numbers a MatMul takes ten times
    as long and more. What is above 1e-22 stays as it is, to the last bit."""
    masked = source_of(softmax.inputs[0], frozenset({"Reshape"}))
    constants = [ir.constant_of(value) for value in masked.inputs] if masked is not None and masked.op_type == "Add" else []
    low, high = _MASK
    if not any(array is not None and ((array > low) & (array < high)).any() for array in constants):
        return
    weights, readers = softmax.outputs[0], ir.uses(softmax.outputs[0])
    if any(use.node.op_type == "MatMul" for use in readers):
        b = Inserter.behind(softmax, f"{softmax.name}.dropped")
        less = b.op("Sub", weights, b.constant(_NOTHING, np.float32))
        ir.redirect(weights, b.op("Relu", less), readers)


def _multiplied(node: ir.Node | None, number: float) -> ir.Value | None:
    """What `node` multiplies by `number`, or divides by its inverse."""
    if node is None or node.op_type not in {"Mul", "Div"}:
        return None
    for index, value in enumerate(node.inputs):
        found = number_of(value)
        if found and isclose(1 / found if node.op_type == "Div" else found, number, rel_tol=_NEAR):
            return node.inputs[1 - index] if node.op_type == "Mul" or index else None
    return None
