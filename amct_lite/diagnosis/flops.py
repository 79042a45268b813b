"""Multiply-accumulates and floating point operations of one node, from shapes alone.

Source of the formulas: the AMCT contract, section 9, for each image of the batch. With K products summed for an output,
FLOPs = (2K - 1, + 1 with a bias) · outputs. ConvTranspose counts the same at the positions of its input, where its products
are. Of an LSTM, for which the contract has nothing, the products with both weights count in the same way: K inputs and hidden
values for each gate, step, sequence and direction.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

from amct_lite import ir

UNCOUNTED = frozenset(
    {"Attention", "ConvInteger", "DFT", "DeformConv", "Einsum", "GRU", "MatMulInteger", "QLinearConv"}
    | {"QLinearMatMul", "RNN", "STFT"}
)
"""Operators of the standard that multiply and accumulate, for which the contract has no formula."""

_GATES = 4
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Work:
    """terms: products summed for one output; sums: how many such sums there are."""

    terms: int
    sums: int

    @property
    def macs(self) -> int:
        return self.terms * self.sums

    def flops(self, *, bias: bool) -> int:
        """(2K - 1) · sums, and one more addition each with a bias."""
        return (2 * self.terms - (0 if bias else 1)) * self.sums


def work_of(node: ir.Node) -> Work | str | None:
    """The products of `node`, a sentence why they cannot be counted, or None for an operator that has none."""
    formula = _FORMULAS.get(node.op_type) if node.domain in {"", "ai.onnx"} else None
    if formula is None:
        return None
    result = next((value for value in node.outputs if value.name), node.outputs[0])
    data, weight, output = map(ir.sizes_of, (node.inputs[0], node.inputs[1], result))
    if data is None or weight is None or output is None:
        return "the shape of its inputs or output is not known before it runs"
    return formula(node, data, weight, output)


def _conv(_node: ir.Node, _data: Shape, weight: Shape, output: Shape) -> Work:
    return Work(prod(weight[1:]), prod(output))


def _conv_transpose(node: ir.Node, data: Shape, weight: Shape, _output: Shape) -> Work:
    group = int(ir.attribute(node, "group", 1))
    return Work(weight[0] // group * prod(weight[2:]), data[0] * prod(data[2:]) * weight[1] * group)


def _gemm(node: ir.Node, data: Shape, _weight: Shape, output: Shape) -> Work:
    return Work(data[0] if ir.attribute(node, "transA", 0) else data[1], prod(output))


def _matmul(_node: ir.Node, data: Shape, _weight: Shape, output: Shape) -> Work:
    return Work(data[-1], prod(output))


def _lstm(_node: ir.Node, data: Shape, weight: Shape, _output: Shape) -> Work:
    directions, rows, inputs = weight
    return Work(inputs + rows // _GATES, data[0] * data[1] * directions * rows)


_FORMULAS: dict[str, Callable[[ir.Node, Shape, Shape, Shape], Work]] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Gemm": _gemm,
    "LSTM": _lstm,
    "MatMul": _matmul,
}
COUNTED = frozenset(_FORMULAS)
