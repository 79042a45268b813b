"""Nodes of a model for ONNX Runtime whose integer kernels are slower than float ones: known by their form, nothing is run."""

from __future__ import annotations

from amct_lite import ir
from amct_lite.exporters.pairs import is_dequantized, is_rounded
from amct_lite.ir.windows import is_same_padded, pads_of
from amct_lite.types import Skip


def slow_kernels(model: ir.Model) -> tuple[Skip, ...]:
    """Those of an exported model whose shapes are inferred, in its order, each with what makes it slow."""
    slow = ((node, _slow_form(node)) for node in model.graph)
    on_integers = ((node, why) for node, why in slow if why and is_dequantized(node.inputs[0]) and is_rounded(node.outputs[0]))
    return tuple(Skip(str(node.name), node.op_type, why) for node, why in on_integers)


def _slow_form(node: ir.Node) -> str:
    """Empty for forms with a fast kernel. Most pools are written as convolutions for the target ort."""
    value = node.inputs[0] if node.inputs else None
    dims = ir.dims_of(value)
    if dims is None or node.domain:
        return ""
    whole = list(dims[2:]) == list(ir.attribute(node, "kernel_shape", ()))  # one window, whose kernel is fast
    if node.op_type == "AveragePool" and len(dims) == 4 and _has_unequal_windows(node) and not whole:
        return "its windows are not all of one size: padding that does not count, or ceil_mode"
    return ""


def _has_unequal_windows(pool: ir.Node) -> bool:
    """Of these the integer kernel takes 4 to 16 times as long as the float one (1.31)."""
    padded = any(pads_of(pool)) or is_same_padded(pool)
    return bool(ir.attribute(pool, "ceil_mode", 0)) or (padded and not ir.attribute(pool, "count_include_pad", 0))
