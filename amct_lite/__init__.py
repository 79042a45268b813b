"""amct_lite: offline int8 quantization of ONNX models for Ascend NPUs and ONNX Runtime.

Names are loaded when they are first used, so that `import amct_lite` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from amct_lite.accuracy.auto import AutoCalibration
    from amct_lite.analysis.sensitivity import Sensitivities
    from amct_lite.by_hand import qparams
    from amct_lite.compat.api import (
        convert_model,
        convert_qat_model,
        create_quant_config,
        quantize_model,
        quantize_preprocess,
        save_model,
    )
    from amct_lite.compat.auto_calibration import accuracy_based_auto_calibration
    from amct_lite.compat.dropin import AMCT_SO as AMCT_SO
    from amct_lite.compat.mixed_precision import auto_mixed_precision_search
    from amct_lite.compat.session import CalibrationSession
    from amct_lite.config import QuantConfig
    from amct_lite.diagnosis.bitops import bitops
    from amct_lite.diagnosis.compare import compare
    from amct_lite.diagnosis.explain import explain
    from amct_lite.diagnosis.sensitivity import sensitivity
    from amct_lite.errors import AmctError
    from amct_lite.inspection import Inspection
    from amct_lite.public import autocalibrate, export, inspect, load_config, quantize, report, search_precision
    from amct_lite.record import format_record, read_record
    from amct_lite.result import QuantizeResult
    from amct_lite.running import RunOptions
    from amct_lite.runtime import RuntimeOptions

_HOMES = {
    "AMCT_SO": "compat.dropin",
    "AmctError": "errors",
    "AutoCalibration": "accuracy.auto",
    "CalibrationSession": "compat.session",
    "Inspection": "inspection",
    "QuantConfig": "config",
    "QuantizeResult": "result",
    "RunOptions": "running",
    "RuntimeOptions": "runtime",
    "Sensitivities": "analysis.sensitivity",
    "accuracy_based_auto_calibration": "compat.auto_calibration",
    "auto_mixed_precision_search": "compat.mixed_precision",
    "autocalibrate": "public",
    "bitops": "diagnosis.bitops",
    "compare": "diagnosis.compare",
    "convert_model": "compat.api",
    "convert_qat_model": "compat.api",
    "create_quant_config": "compat.api",
    "explain": "diagnosis.explain",
    "export": "public",
    "format_record": "record",
    "inspect": "public",
    "load_config": "public",
    "qparams": "by_hand",
    "quantize": "public",
    "quantize_model": "compat.api",
    "quantize_preprocess": "compat.api",
    "read_record": "record",
    "report": "public",
    "save_model": "compat.api",
    "search_precision": "public",
    "sensitivity": "diagnosis.sensitivity",
}

# All but AMCT_SO, which needs an extra: whoever looks through the names, as help() does, need not have it.
__all__ = [
    "AmctError",
    "AutoCalibration",
    "CalibrationSession",
    "Inspection",
    "QuantConfig",
    "QuantizeResult",
    "RunOptions",
    "RuntimeOptions",
    "Sensitivities",
    "accuracy_based_auto_calibration",
    "auto_mixed_precision_search",
    "autocalibrate",
    "bitops",
    "compare",
    "convert_model",
    "convert_qat_model",
    "create_quant_config",
    "explain",
    "export",
    "format_record",
    "inspect",
    "load_config",
    "qparams",
    "quantize",
    "quantize_model",
    "quantize_preprocess",
    "read_record",
    "report",
    "save_model",
    "search_precision",
    "sensitivity",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"amct_lite.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'amct_lite' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
