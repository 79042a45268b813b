"""Operators that ONNX Runtime has beside those of the standard: their domain."""

from __future__ import annotations

from amct_lite import ir

DOMAIN = "com.microsoft"


def import_domain(graph: ir.Graph) -> None:
    """Let nodes of `graph` be of the domain."""
    graph.opset_imports.setdefault(DOMAIN, 1)
