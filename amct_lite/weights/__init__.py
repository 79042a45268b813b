"""From a weight to its scales: one quantizer a file, found by name; and the repair of scales too small for a bias."""

from __future__ import annotations

from amct_lite.weights.base import WEIGHT_QUANTIZERS, WeightQuantizer, make_weight_quantizer
from amct_lite.weights.repair import raise_scales

__all__ = ["WEIGHT_QUANTIZERS", "WeightQuantizer", "make_weight_quantizer", "raise_scales"]
