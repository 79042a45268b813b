"""Types and shapes of all values of the main graph, as far as ONNX can tell; the passes that follow look at ranks."""

from __future__ import annotations

from amct_lite import ir
from amct_lite.types import PassReport


def run(model: ir.Model) -> PassReport:
    ir.infer_shapes(model)
    return PassReport("infer_shapes", 0)
