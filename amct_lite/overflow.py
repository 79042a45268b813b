"""Models that ONNX Runtime's kernels on ARM compute wrongly, by `numerics/pair_sums.py`."""

from __future__ import annotations

import platform

import numpy as np

from amct_lite import ir
from amct_lite.numerics.pair_sums import is_crowded
from amct_lite.types import AnyArray

_SUMMING = frozenset({"Conv", "Gemm", "MatMul"})


def on_arm() -> bool:
    return platform.machine().lower() in {"aarch64", "arm64"}


def may_overflow(model: ir.Model) -> bool:
    """Whether a layer that ONNX Runtime may make an integer kernel of has weights that ARM's cannot sum up."""
    for node in model.graph:
        codes = signed_weight(node)
        if codes is not None and any(is_crowded(codes, axis) for axis in summed_axes(node, codes.ndim)):
            return True
    return False


def signed_weight(dequantize: ir.Node) -> AnyArray | None:
    """The codes of a weight, int8, that `dequantize` makes floats of; None for other nodes, and where they are no weight."""
    codes = ir.constant_of(dequantize.inputs[0]) if dequantize.op_type == "DequantizeLinear" else None
    return codes if codes is not None and codes.dtype == np.int8 and codes.ndim > 1 else None


def summed_axes(dequantize: ir.Node, rank: int) -> list[int]:
    """The axes of the outputs in a weight of so many axes, for those of its readers that may become integer kernels."""
    readers = (use.node for use in ir.uses(dequantize.outputs[0]) if use.node.op_type in _SUMMING)
    return sorted({0 if node.op_type == "Conv" or ir.attribute(node, "transB", 0) else rank - 1 for node in readers})
