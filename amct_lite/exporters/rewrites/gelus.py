"""Gelus that are written in parts become the operators that ONNX Runtime has for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from math import erf, pi, sqrt

import numpy as np

from amct_lite import ir
from amct_lite.exporters.rewrites.contrib import DOMAIN, import_domain
from amct_lite.ir.build import Inserter
from amct_lite.passes.constants import number_of
from amct_lite.passes.readers import sole_reader
from amct_lite.types import DoubleArray

_POINTS: DoubleArray = np.linspace(-8, 8, 65)
_NEAR = 2e-5
"""1.4142 is meant to be the root of 2; the two kinds of Gelu are 5e-4 apart."""
_MOST_BEHIND = 3
_MOST_IN_FRONT = 6
_erf = np.vectorize(erf, otypes=[float])
_ARITHMETIC: Mapping[str, Callable[..., DoubleArray]] = {
    "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide, "Pow": np.power, "Erf": _erf, "Tanh": np.tanh,
}  # fmt: skip
_GELUS: Mapping[str, tuple[str, DoubleArray]] = {
    "Erf": ("Gelu", _POINTS / 2 * (1 + _erf(_POINTS / sqrt(2)))),
    "Tanh": ("FastGelu", _POINTS / 2 * (1 + np.tanh(sqrt(2 / pi) * (_POINTS + 0.044715 * _POINTS**3)))),
}


def name_gelu(inner: ir.Node) -> None:
    """`inner`: an Erf or a Tanh. Where what is made of it is a Gelu of what it is made of, in whatever order, that becomes one
    operator. By itself ONNX Runtime finds some that have an Erf, and none where each reader of codes has a DequantizeLinear of
    its own, as it gives them first."""
    op_type, wanted = _GELUS[inner.op_type]
    ends = [end for end in _behind(inner) if end.outputs[0].dtype == ir.DataType.FLOAT]
    for data in _in_front(inner):
        for end in ends:
            found = _computed(end.outputs[0], data) if _rank(end.outputs[0]) == _rank(data) else None
            if found is not None and np.allclose(found, wanted, rtol=0, atol=_NEAR):
                import_domain(ir.graph_of(end))
                ir.replace_node(end, Inserter(end, str(end.name)).op(op_type, data, domain=DOMAIN))
                return


def _behind(inner: ir.Node) -> Iterator[ir.Node]:
    """Who reads its result, and who reads theirs."""
    node: ir.Node | None = inner
    for _ in range(_MOST_BEHIND):
        node = sole_reader(node.outputs[0]) if node is not None else None
        if node is not None and not node.domain and node.op_type in _ARITHMETIC:
            yield node


def _in_front(inner: ir.Node) -> list[ir.Value]:
    """What it is made of, what that is made of, and so on: the nearest first."""
    found: list[ir.Value] = []
    front = [inner]
    for _ in range(_MOST_IN_FRONT):
        values = dict.fromkeys(
            value for node in front for value in node.inputs if value is not None and number_of(value) is None
        )
        found += [value for value in values if value not in found]
        front = [node for node in map(ir.producer_of, values) if node is not None and node.op_type in _ARITHMETIC]
    return found


def _rank(value: ir.Value) -> int | None:
    """A number may have more axes than what it is computed with, and the result then has as many."""
    dims = ir.dims_of(value)
    return None if dims is None else len(dims)


def _computed(value: ir.Value | None, data: ir.Value, depth: int = 0) -> DoubleArray | float | None:
    """What `value` is where `data` is _POINTS; None where more than numbers goes into it."""
    if value is data:
        return _POINTS
    number, node = number_of(value), ir.producer_of(value)
    if number is not None or node is None or node.domain or node.op_type not in _ARITHMETIC:
        return number
    if depth > _MOST_BEHIND + _MOST_IN_FRONT:
        return None
    parts = [_computed(each, data, depth + 1) for each in node.inputs]
    with np.errstate(all="ignore"):
        return None if any(part is None for part in parts) else _ARITHMETIC[node.op_type](*parts)
