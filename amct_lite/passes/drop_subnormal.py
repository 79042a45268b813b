"""Weights below the smallest normal float32, 1.2e-38, become 0: CPUs take many times as long for each product with one.

Training leaves such weights where it decays them. Of 24 networks that packages of npm and PyPI carry, three hold so many, up to
30 % of all, that the float model takes 4, 35 and 43 times as long. No result can tell them from 0. Only what is multiplied and
summed up changes: a number that others compute with may be there for not being 0, as in front of a logarithm.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from amct_lite import ir
from amct_lite.passes.channel_affine import LAYERS
from amct_lite.passes.findings import Findings
from amct_lite.types import AnyArray, PassReport

_SUMMING = LAYERS | {"MatMul", "LSTM", "GRU", "RNN"}
_SMALLEST = np.finfo(np.float32).smallest_normal
_BLOCK = 1 << 16
"""Numbers that are looked at together: a weight may be large."""


def run(model: ir.Model) -> PassReport:
    findings = Findings("drop_subnormal")
    weights = {value: value.const_value for node in model.graph for value in _weights(node) if value.const_value is not None}
    found = {tensor: _without_subnormal(tensor) for tensor in weights.values()}  # once for values that have one tensor
    for value, tensor in weights.items():
        value.const_value, _ = found[tensor]
    counts = [count for _, count in found.values() if count]
    findings.changed = len(counts)
    if counts:
        findings.notes.append(f"{sum(counts):,} weights below {_SMALLEST:.1e}, with which CPUs compute slowly, are 0")
    return findings.report()


def _weights(node: ir.Node) -> Iterator[ir.Value]:
    for value in node.inputs if node.op_type in _SUMMING and not node.domain else ():
        if value is not None and value.dtype == ir.DataType.FLOAT and ir.constant_of(value) is not None:
            yield value


def _without_subnormal(tensor: ir.TensorProtocol) -> tuple[ir.TensorProtocol, int]:
    """The tensor, or another one in its place, and how many numbers of it become 0."""
    array = tensor.numpy()
    count = sum(int(np.count_nonzero(_subnormal(block))) for block in _blocks(array))
    if not count:
        return tensor, 0
    array = array.copy()
    for block in _blocks(array):
        block[_subnormal(block)] = 0
    return ir.tensor_of(array, None, tensor.name), count


def _blocks(array: AnyArray) -> Iterator[AnyArray]:
    flat = array.reshape(-1)
    return (flat[start : start + _BLOCK] for start in range(0, flat.size, _BLOCK))


def _subnormal(block: AnyArray) -> AnyArray:
    found: AnyArray = (np.abs(block) < _SMALLEST) & (block != 0)
    return found
