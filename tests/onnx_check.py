"""ONNX's own checker, shape inference included."""

from __future__ import annotations

import onnx

from amct_lite import ir


def full_check(model: ir.Model) -> None:
    """Raises what the checker raises."""
    onnx.checker.check_model(ir.to_bytes(model), full_check=True)
