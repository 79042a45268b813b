"""Models that already carry QuantizeLinear and DequantizeLinear (QDQ): back to float, their scales kept.

    qdq model ── settle ──▶ constants dequantized, a Q right in front of each DQ     (`constants`, `pairs`)
              ── prepare ─▶ as any float model; no fold crosses a Q or DQ
              ── read ────▶ the grids of layers and Adds, reasons for all others     (`taking`)
              ── strip ───▶ the float model                                          (`pairs`)
              ── limit ───▶ where a rounding is left out, its bounds stay            (`limits`)

Nothing is calibrated and nothing is rounded anew here: what is kept are codes and scales as the model has them.
"""

from amct_lite.qat.constants import Coded, dequantize_constants
from amct_lite.qat.grid import Grid, is_qdq
from amct_lite.qat.limits import input_bounds, limit, restore_activations
from amct_lite.qat.pairs import join_pairs, sign_outputs, strip
from amct_lite.qat.taking import Taken, Trained, limits_of, take, trained_of

__all__ = [
    "Coded",
    "Grid",
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
