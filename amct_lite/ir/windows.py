"""How the windows of a pool, or the kernel of a convolution, move over an image: what attributes say, or leave to defaults."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from onnx_ir import Node

from amct_lite.ir.attributes import attribute


def kernel_of(pool: Node) -> list[int]:
    return attribute(pool, "kernel_shape", [])


def auto_pad_of(pool: Node) -> str:
    return str(attribute(pool, "auto_pad", "NOTSET"))


def is_same_padded(pool: Node) -> bool:
    """Whether the size of the image decides how many pads there are."""
    return auto_pad_of(pool).startswith("SAME")


def has_doubtful_pads(conv: Node, kernel: Sequence[int]) -> bool:
    """Whether the pads follow from the size of the image, and may be -3 or less along an axis because a stride is so much wider
    than the `kernel`: ONNX Runtime's Conv (1.22 to 1.31) then passes over pixels in front, onnx's reference has no pads."""
    strides = attribute(conv, "strides", [1] * len(kernel))
    return is_same_padded(conv) and any(taps - stride <= -3 for taps, stride in zip(kernel, strides, strict=True))


def pads_of(pool: Node) -> list[int]:
    """Those in front of all axes, then those behind; zeros where `pool` names none."""
    none = [0] * (2 * len(kernel_of(pool)))
    return attribute(pool, "pads", none) if auto_pad_of(pool) == "NOTSET" else none


def same_pads(node: Node, sizes: Sequence[int], kernel: Sequence[int], strides: Sequence[int]) -> list[int]:
    """Those in front of all axes, then those behind, of a node that is padded so that each stride gives a result. `sizes`: of
    its image."""
    axes = zip(sizes, kernel, strides, strict=True)
    totals = [max((ceil(size / stride) - 1) * stride + taps - size, 0) for size, taps, stride in axes]
    halves = [(total // 2, total - total // 2) for total in totals]
    upper = auto_pad_of(node) == "SAME_UPPER"
    return [pair[0] if upper else pair[1] for pair in halves] + [pair[1] if upper else pair[0] for pair in halves]


def strides_of(pool: Node) -> list[int]:
    return attribute(pool, "strides", [1] * len(kernel_of(pool)))
