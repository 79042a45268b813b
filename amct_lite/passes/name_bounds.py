"""Max and Min with a number become the Relu or Clip that they are, one behind the other a single one.

    Max(x, 0)                  Relu(x)
    Max(x, low)                Clip(x, low)
    Min(x, high)               Clip(x, , high)
    Min(Max(x, low), high)     Clip(x, low, high), also the other way round, if low <= high

JAX writes its bounds so. Layers and what rounds them know a Relu or Clip.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from amct_lite import ir
from amct_lite.ir.build import Inserter
from amct_lite.passes.constants import number_of
from amct_lite.passes.findings import Findings
from amct_lite.passes.readers import sole_reader
from amct_lite.types import PassReport

_OTHER = {"Max": "Min", "Min": "Max"}


class _Bound(NamedTuple):
    """What a Max or Min keeps within what number."""

    source: ir.Value
    number: float


def run(model: ir.Model) -> PassReport:
    findings = Findings("name_bounds")
    for node in tuple(model.graph):
        bound = _bound_of(node) if node.graph is not None else None
        if bound is not None:
            findings.changed += _name(node, bound)
    return findings.report()


def _bound_of(node: ir.Node) -> _Bound | None:
    if node.op_type not in _OTHER or node.domain or len(node.inputs) != 2:
        return None
    for source, limit in (node.inputs, node.inputs[::-1]):
        number, dims, constant = number_of(limit), ir.dims_of(source), ir.constant_of(limit)
        if source is None or constant is None or number is None or source.dtype != ir.DataType.FLOAT:
            continue
        if constant.ndim <= len(dims or ()):  # else the result has an axis more
            return _Bound(source, number)
    return None


def _name(node: ir.Node, bound: _Bound) -> int:
    """How many nodes from `node` on are one now."""
    limits, last = {node.op_type: bound.number}, node
    behind = sole_reader(node.outputs[0])
    further = _bound_of(behind) if behind is not None and behind.op_type == _OTHER[node.op_type] else None
    if behind is not None and further is not None:
        both = limits | {behind.op_type: further.number}
        limits, last = (both, behind) if both["Max"] <= both["Min"] else (limits, node)
    b = Inserter(last, str(last.name))
    low, high = (b.constant(limits[op_type], np.float32) if op_type in limits else None for op_type in ("Max", "Min"))
    is_relu = limits == {"Max": 0.0}
    last.op_type = "Relu" if is_relu else "Clip"
    last.resize_inputs(1 if is_relu else 2 if high is None else 3)
    for index, value in enumerate((bound.source, low, high)[: len(last.inputs)]):
        ir.replace_input(last, index, value)
    if last is not node:
        ir.remove_node(node)
    return len(limits)
