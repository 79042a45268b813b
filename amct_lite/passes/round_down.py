"""A pool that rounds the number of its windows up rounds it down, and has more pads behind the image, where sizes need it.

Below opset 22 onnx, and ONNX Runtime with it, infers that a last window exists which would start behind the image and the pads
in front; who computes leaves it out. For k pixels of a window, strides of s, and p pads behind n pixels (those in front
included), windows stay as they are:

    min(ceil((n + p - k) / s) + 1, ceil(n / s)) = floor((n + min(p + s - 1, k - 1) - k) / s) + 1

Pads that a mean counts become pixels, by a Pad in front of it: those that are new do not count, nor does what lies behind pads
in ONNX (ONNX Runtime's kernel for integers would count it).
Left alone: where p + s <= k, so that both sides of that agree, unless a mean counts.
"""

from __future__ import annotations

import numpy as np

from amct_lite import ir
from amct_lite.ir.build import Inserter
from amct_lite.ir.windows import is_same_padded, kernel_of, pads_of, strides_of
from amct_lite.passes.findings import Findings
from amct_lite.types import PassReport

_POOLS = frozenset({"AveragePool", "LpPool", "MaxPool"})


def run(model: ir.Model) -> PassReport:
    """If one pool is changed, the sizes of all results are forgotten, but of the model's outputs: onnx may have told them."""
    findings = Findings("round_down")
    for node in tuple(model.graph):
        if node.op_type in _POOLS and not node.domain and ir.attribute(node, "ceil_mode", 0):
            _round_down(node, findings)
    if findings.changed:
        for node in model.graph:
            for value in node.outputs:
                if not node.domain and not value.is_graph_output():
                    value.shape = None
    return findings.report()


def _round_down(pool: ir.Node, findings: Findings) -> None:
    kernel, strides, pads = kernel_of(pool), strides_of(pool), pads_of(pool)
    rank = len(kernel)
    apart = ir.attribute(pool, "dilations", [1] * rank)
    if is_same_padded(pool) or not len(strides) == len(apart) == len(pads) / 2 == rank:
        return  # ONNX Runtime tells what contradicts itself
    last = [(size - 1) * step for size, step in zip(kernel, apart, strict=True)]
    ceiled = [pad + stride - 1 for pad, stride in zip(pads[rank:], strides, strict=True)]
    wanted = [*pads[:rank], *map(min, ceiled, last)]
    counts = bool(ir.attribute(pool, "count_include_pad", 0))
    if wanted[rank:] == ceiled and not (counts and ceiled != pads[rank:]):
        return
    counted = pads if counts else [0] * (2 * rank)
    wanted = [more - pad for more, pad in zip(wanted, counted, strict=True)]
    if any(pad >= size for pad, size in zip(wanted, kernel * 2, strict=True)):
        findings.refuse(pool, "it rounds its size up, and ONNX Runtime takes no pads as wide as a window instead")
        return
    if any(counted):
        _pad(pool, counted)
    for name in {"ceil_mode", "auto_pad", "count_include_pad"} & set(pool.attributes):
        pool.attributes.pop(name)
    ir.set_attribute(pool, "pads", wanted)
    findings.changed += 1


def _pad(pool: ir.Node, pads: list[int]) -> None:
    b, rank = Inserter(pool, f"{pool.name}.pads"), len(pads) // 2
    widths = b.constant([0, 0, *pads[:rank], 0, 0, *pads[rank:]], np.int64)
    ir.replace_input(pool, 0, b.op("Pad", pool.inputs[0], widths))
