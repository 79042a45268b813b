"""What ONNX says of its own operators."""

from __future__ import annotations

import onnx


def schema_of(op_type: str, version: int) -> onnx.defs.OpSchema | None:
    """What ONNX says of one of its own operators in opset `version`; None where it has no such operator."""
    try:
        return onnx.defs.get_schema(op_type, version, "")
    except onnx.defs.SchemaError:
        return None
