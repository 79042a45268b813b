"""CastLike reads a tensor for its type alone: where that is known, Cast says the same and reads nothing."""

from __future__ import annotations

from onnx_ir import Model

from amct_lite.ir.attributes import set_attribute
from amct_lite.ir.shapes import infer_shapes


def name_cast_types(model: Model) -> int:
    """Every CastLike whose type is known becomes a Cast, in place; returns how many. Where there is one, types are inferred."""
    casts = [node for node in model.graph.all_nodes() if node.op_type == "CastLike" and not node.domain]
    if casts:
        infer_shapes(model)
    known = [(node, like.dtype) for node in casts if (like := node.inputs[1]) is not None and like.dtype is not None]
    for node, dtype in known:
        node.op_type = "Cast"
        set_attribute(node, "to", int(dtype))
        node.resize_inputs(1)
    return len(known)
