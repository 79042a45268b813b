"""Min-max: the range of the data as it is. Nothing is clipped; one large value sets the scale."""

from __future__ import annotations

from dataclasses import dataclass

from amct_lite.numerics.affine import qparams_from_range
from amct_lite.numerics.sketch import Sketch
from amct_lite.observers.base import OBSERVERS
from amct_lite.types import QParams, QuantSpec


@OBSERVERS.register("minmax")
@dataclass(frozen=True)
class MinMax:
    """No options."""

    def qparams(self, sketch: Sketch, spec: QuantSpec) -> QParams:
        return qparams_from_range(sketch.low, sketch.high, spec)
