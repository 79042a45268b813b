"""An Einsum that is a product of matrices becomes a MatMul of the same name, its tensors turned where their axes lie otherwise.

    bct,bcs->bts     MatMul(Transpose(x), y)      b: in all three; c, summed up: in both factors
    bts,bcs->bct     MatMul(y, Transpose(x))      what needs not be turned behind comes first
    btc,cd->btd      MatMul(x, w)                 rows on several axes, where the second has no b

Attention is often written so. A MatMul is a layer; ONNX Runtime takes 0.6 to 0.75 of the time for the first form, the same for
the second.
Left alone: any other sum, and what a DequantizeLinear gives, whose scale is that of the tensor as it lies.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from amct_lite import ir
from amct_lite.ir.adapting import Site
from amct_lite.ir.build import Inserter
from amct_lite.passes.findings import Findings
from amct_lite.types import PassReport

_OF_TWO = re.compile(r"(\w+),(\w+)->(\w+)")


class _Axes(NamedTuple):
    """How the axes lie in a product of matrices."""

    first: str
    second: str
    result: str


def run(model: ir.Model) -> PassReport:
    findings = Findings("spell_einsum")
    for node in tuple(model.graph):
        if node.op_type == "Einsum" and not node.domain and all(_is_plain(value) for value in node.inputs):
            findings.changed += _spell(node)
    return findings.report()


def _is_plain(value: ir.Value | None) -> bool:
    maker = ir.producer_of(value)
    rounded = maker is not None and maker.op_type == "DequantizeLinear"
    return value is not None and value.dtype == ir.DataType.FLOAT and not rounded


def _spell(einsum: ir.Node) -> bool:
    found = _OF_TWO.fullmatch(ir.attribute(einsum, "equation", "").replace(" ", ""))
    if found is None:
        return False
    labels, wanted, values = found.groups()[:2], found.group(3), einsum.inputs
    ways = [(order, axes) for order in ((0, 1), (1, 0)) if (axes := _axes(labels[order[0]], labels[order[1]], wanted))]
    if not ways:
        return False
    order, axes = min(ways, key=lambda way: way[1].result != wanted)
    b = Inserter(einsum, str(einsum.name))
    factors = [_turned(b, values[index], labels[index], into) for index, into in zip(order, axes, strict=False)]
    del einsum.attributes["equation"]
    einsum.op_type = "MatMul"
    for index, factor in enumerate(factors):
        ir.replace_input(einsum, index, factor)
    if axes.result != wanted:
        Site(einsum, ir.graph_of(einsum)).finish_with("Transpose", perm=_permutation(axes.result, wanted))
    return True


def _axes(first: str, second: str, result: str) -> _Axes | None:
    """None where it is no product of matrices, or each factor has several axes of its own beside common ones."""
    batch = "".join(label for label in result if label in first and label in second)
    rows = "".join(label for label in result if label in first and label not in second)
    columns = "".join(label for label in result if label in second and label not in first)
    summed = "".join(label for label in first if label in second and label not in result)
    axes = _Axes(batch + rows + summed, batch + summed + columns, batch + rows + columns)
    known = [sorted(labels) for labels in axes] == [sorted(first), sorted(second), sorted(result)]
    alone = len(summed) == len(columns) == 1 and (len(rows) == 1 or (bool(rows) and not batch))
    return axes if known and alone else None


def _turned(b: Inserter, value: ir.Value | None, labels: str, into: str) -> ir.Value | None:
    return value if labels == into else b.op("Transpose", value, perm=_permutation(labels, into))


def _permutation(labels: str, into: str) -> list[int]:
    return [labels.index(label) for label in into]
