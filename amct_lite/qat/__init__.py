"""Models that already carry QuantizeLinear and DequantizeLinear (QDQ): back to float, their scales kept.

    qdq model ── settle ──▶ constants dequantized, a Q right in front of each DQ     (`constants`, `pairs`)
              ── prepare ─▶ as any float model; no fold crosses a Q or DQ
              ── read ────▶ the grids of layers, Adds and others, reasons for the rest (`taking`)
              ── strip ───▶ the float model                                          (`pairs`)
              ── limit ───▶ where a rounding is left out, its bounds stay            (`limits`)

Nothing is calibrated and nothing is rounded anew here: what is kept are codes and scales as the model has them.

Names are loaded when they are first used: of a float model, all that is asked is whether it is one.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from amct_lite.qat.constants import dequantize_constants
    from amct_lite.qat.grid import is_qdq
    from amct_lite.qat.limits import input_bounds, limit, restore_activations
    from amct_lite.qat.pairs import join_pairs, sign_outputs, strip
    from amct_lite.qat.taking import Between, Taken, Trained, limits_of, take, trained_of

_HOMES = {
    "Between": "taking",
    "Taken": "taking",
    "Trained": "taking",
    "dequantize_constants": "constants",
    "input_bounds": "limits",
    "is_qdq": "grid",
    "join_pairs": "pairs",
    "limit": "limits",
    "limits_of": "taking",
    "restore_activations": "limits",
    "sign_outputs": "pairs",
    "strip": "pairs",
    "take": "taking",
    "trained_of": "taking",
}

__all__ = [
    "Between",
    "Taken",
    "Trained",
    "dequantize_constants",
    "input_bounds",
    "is_qdq",
    "join_pairs",
    "limit",
    "limits_of",
    "restore_activations",
    "sign_outputs",
    "strip",
    "take",
    "trained_of",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"amct_lite.qat.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'amct_lite.qat' has no attribute {name!r}")
