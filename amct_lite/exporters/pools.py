"""Pools whose last window ends behind the image and its pads (`ceil_mode`), so told that ONNX Runtime (1.31) gets them right.

Below opset 22 onnx, and ONNX Runtime with it, infers that a window which would start behind the image exists; who computes
leaves it out. And of means that count the pads, what lies behind these does not count; the kernel for integers counts it.

What the attributes of a pool say, or leave to their defaults, is asked for here.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from amct_lite import ir

_POOLS = frozenset({"AveragePool", "MaxPool"})


def kernel_of(pool: ir.Node) -> list[int]:
    return ir.attribute(pool, "kernel_shape", [])


def auto_pad_of(pool: ir.Node) -> str:
    return str(ir.attribute(pool, "auto_pad", "NOTSET"))


def is_same_padded(pool: ir.Node) -> bool:
    """Whether the size of the image decides how many pads there are."""
    return auto_pad_of(pool).startswith("SAME")


def pads_of(pool: ir.Node) -> list[int]:
    """Those in front of all axes, then those behind; zeros where `pool` names none."""
    none = [0] * (2 * len(kernel_of(pool)))
    return ir.attribute(pool, "pads", none) if auto_pad_of(pool) == "NOTSET" else none


def same_pads(node: ir.Node, sizes: Sequence[int], kernel: Sequence[int], strides: Sequence[int]) -> list[int]:
    """Those in front of all axes, then those behind, of a node that is padded so that each stride gives a result. `sizes`: of
    its image."""
    axes = zip(sizes, kernel, strides, strict=True)
    totals = [max((ceil(size / stride) - 1) * stride + taps - size, 0) for size, taps, stride in axes]
    halves = [(total // 2, total - total // 2) for total in totals]
    upper = auto_pad_of(node) == "SAME_UPPER"
    return [pair[0] if upper else pair[1] for pair in halves] + [pair[1] if upper else pair[0] for pair in halves]


def strides_of(pool: ir.Node) -> list[int]:
    return ir.attribute(pool, "strides", [1] * len(kernel_of(pool)))


def counts_too_much(pool: ir.Node) -> bool:
    """Whether the integer kernel for `pool`, an AveragePool, might count what it must not."""
    counted = ir.attribute(pool, "ceil_mode", 0) and ir.attribute(pool, "count_include_pad", 0)
    return bool(counted) and not is_same_padded(pool)


def count_no_pads(pool: ir.Node) -> None:
    """Where there are no pads, do not count any: so the kernel for integers is right."""
    if counts_too_much(pool) and not any(pads_of(pool)):
        ir.set_attribute(pool, "count_include_pad", 0)


def round_down(model: ir.Model) -> None:
    """Pools of which onnx might infer too large a size round the number of windows down, in place, and have more pads instead:
    windows stay as they are. Sizes of all results are forgotten then, but of the graph's outputs.

    For k pixels of a window, strides of s, and p pads behind n pixels (those in front included):

        min(ceil((n + p - k) / s) + 1, ceil(n / s)) = floor((n + min(p + s - 1, k - 1) - k) / s) + 1
    """
    pools = [node for node in model.graph if node.op_type in _POOLS and not node.domain]
    if not sum(map(_round_down, pools)):
        return
    for node in model.graph:
        for value in node.outputs:
            if not node.domain and not value.is_graph_output():
                value.shape = None


def _round_down(pool: ir.Node) -> bool:
    """Whether it was necessary, and possible: pads that count would change the mean."""
    if not ir.attribute(pool, "ceil_mode", 0) or ir.attribute(pool, "count_include_pad", 0) or is_same_padded(pool):
        return False
    kernel, strides, pads = kernel_of(pool), strides_of(pool), pads_of(pool)
    rank = len(kernel)
    apart = ir.attribute(pool, "dilations", [1] * rank)
    last = [(size - 1) * step for size, step in zip(kernel, apart, strict=True)]
    ceiled = [pad + stride - 1 for pad, stride in zip(pads[rank:], strides, strict=True)]
    behind = list(map(min, ceiled, last))
    if behind == ceiled or any(pad >= size for pad, size in zip(behind, kernel, strict=True)):  # which it would refuse
        return False
    for name in {"ceil_mode", "auto_pad"} & set(pool.attributes):
        pool.attributes.pop(name)
    ir.set_attribute(pool, "pads", [*pads[:rank], *behind])
    return True
