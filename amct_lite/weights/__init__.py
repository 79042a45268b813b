"""From a weight to its scales, and with some methods to its integers: one quantizer a file, found by name; and the repair of
scales too small for a bias."""

from __future__ import annotations

from amct_lite.weights.base import WEIGHT_QUANTIZERS, Rounder, WeightQuantizer, make_weight_quantizer
from amct_lite.weights.reconstruction import Reconstruction
from amct_lite.weights.repair import raise_scales
from amct_lite.weights.rounding import Rounding

__all__ = [
    "WEIGHT_QUANTIZERS",
    "Reconstruction",
    "Rounder",
    "Rounding",
    "WeightQuantizer",
    "make_weight_quantizer",
    "raise_scales",
]
