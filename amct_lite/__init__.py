"""amct_lite: offline int8 quantization of ONNX models for Ascend NPUs and ONNX Runtime.

Names are loaded when they are first used, so that `import amct_lite` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from amct_lite.by_hand import qparams
    from amct_lite.config import QuantConfig, load_config
    from amct_lite.errors import AmctError
    from amct_lite.inspection import Inspection, inspect
    from amct_lite.pipeline import RunOptions, export, quantize
    from amct_lite.record import format_record, read_record
    from amct_lite.result import QuantizeResult
    from amct_lite.runtime import RuntimeOptions

_HOMES = {
    "AmctError": "errors",
    "Inspection": "inspection",
    "QuantConfig": "config",
    "QuantizeResult": "result",
    "RunOptions": "pipeline",
    "RuntimeOptions": "runtime",
    "export": "pipeline",
    "format_record": "record",
    "inspect": "inspection",
    "load_config": "config",
    "qparams": "by_hand",
    "quantize": "pipeline",
    "read_record": "record",
}

__all__ = [
    "AmctError",
    "Inspection",
    "QuantConfig",
    "QuantizeResult",
    "RunOptions",
    "RuntimeOptions",
    "export",
    "format_record",
    "inspect",
    "load_config",
    "qparams",
    "quantize",
    "read_record",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"amct_lite.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'amct_lite' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
