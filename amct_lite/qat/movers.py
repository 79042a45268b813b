"""Operators that put elements elsewhere without changing them: they do the same to codes, floats and scales."""

from __future__ import annotations

import numpy as np

from amct_lite import ir
from amct_lite.types import AnyArray

MOVERS = frozenset(
    {"Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Slice", "Split", "Identity", "Expand", "Tile", "Gather"}
    | {"DepthToSpace", "SpaceToDepth"}
)
"""Only input 0 is moved, the others say whither."""


def is_mover(node: ir.Node) -> bool:
    return node.op_type in MOVERS and not node.domain


def keeps_grid(node: ir.Node, value: ir.Value) -> bool:
    """Whether `node` makes `value` of elements of its input 0, or zeros, which every grid holds, and keeps their order: then it
    may stand in front of the rounding as well as behind it."""
    if node.op_type in {"MaxPool", "GlobalMaxPool", "Relu"}:
        return value is node.outputs[0]
    if node.op_type == "Pad":
        fill = node.inputs[2] if len(node.inputs) > 2 else None
        array = ir.constant_of(fill)
        return fill is None or (array is not None and not array.any()) or ir.attribute(node, "mode", "constant") != "constant"
    if node.op_type == "Resize":
        extrapolates = ir.attribute(node, "coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize"
        return ir.attribute(node, "mode", "nearest") == "nearest" and not extrapolates
    return False


def moved_constant(node: ir.Node, array: AnyArray) -> AnyArray | None:
    """What `node` makes of a constant in its place 0; None for what is not known here."""
    if node.op_type == "Identity":
        return array
    if node.op_type == "Transpose":
        return np.transpose(array, ir.attribute(node, "perm", None))
    if node.op_type == "Flatten":
        axis = int(ir.attribute(node, "axis", 1)) % (array.ndim + 1)
        return array.reshape(int(np.prod(array.shape[:axis])), -1)
    second = ir.constant_of(node.inputs[1]) if len(node.inputs) > 1 else None
    if node.op_type == "Reshape" and second is not None and not ir.attribute(node, "allowzero", 0):
        return array.reshape([array.shape[i] if dim == 0 else int(dim) for i, dim in enumerate(second.tolist())])
    if node.op_type == "Squeeze":
        axes = None if second is None else tuple(int(axis) for axis in second.reshape(-1))
        return np.squeeze(array, axes)
    if node.op_type == "Unsqueeze" and second is not None:
        return np.expand_dims(array, tuple(int(axis) for axis in second.reshape(-1)))
    return None
