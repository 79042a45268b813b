"""A constant number that codes are added to or multiplied by is a code itself: ONNX Runtime's integer kernels want it so."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from amct_lite import ir
from amct_lite.exporters.pairs import is_dequantized
from amct_lite.exporters.rewrites.neighbours import rounded_by
from amct_lite.flow.kernels import KERNELS
from amct_lite.ir.build import Inserter
from amct_lite.passes.constants import number_of

NUMBERS: Mapping[str, tuple[str, Callable[[float], float]]] = {
    "Add": ("Add", lambda number: number),
    "Sub": ("Add", lambda number: -number),
    "Mul": ("Mul", lambda number: number),
    "Div": ("Mul", lambda number: 1 / number),
}
"""Operator with a number → the one with an integer kernel that does the same, and the number for that."""


def give_code(node: ir.Node) -> None:
    """`node`: one of NUMBERS, in a model whose codes are unsigned. Where it divides, the float next to it may come out."""
    numbers = {index: number for index, value in enumerate(node.inputs) if (number := number_of(value)) is not None}
    if len(numbers) != 1 or rounded_by(node) is None or not KERNELS[node.op_type].taken(node):
        return
    ((index, number),) = numbers.items()
    if not is_dequantized(node.inputs[1 - index]):
        return
    op_type, change = NUMBERS[node.op_type]
    ir.replace_input(node, index, code_for(Inserter(node, str(node.name)), change(number), node.outputs[0]))
    node.op_type = op_type


def code_for(b: Inserter, number: float, result: ir.Value) -> ir.Value:
    """`number`, not zero, as one step above or below the zero point of its grid. It has as many axes as `result`, which is made
    with it: with fewer, ONNX Runtime takes 38 µs instead of 1 for a single pixel of 1280 channels."""
    shape = [1] * len(ir.dims_of(result) or ())
    code, zero_point = (1, 0) if number > 0 else (0, 1)
    given = b.constant(abs(number), np.float32), b.constant(zero_point, np.uint8)
    return b.op("DequantizeLinear", b.constant(np.full(shape, code, np.uint8)), *given)
