"""ARQ, AMCT's weight quantizer: the symmetric min/max rule on each channel or on the whole. Source: contract, section 5."""

from __future__ import annotations

from dataclasses import dataclass, replace

from amct_lite.numerics.affine import qparams_from_range
from amct_lite.types import FloatArray, QParams, QuantSpec
from amct_lite.weights.base import WEIGHT_QUANTIZERS


@WEIGHT_QUANTIZERS.register("arq")
@dataclass(frozen=True)
class Arq:
    """No options."""

    def qparams(self, rows: FloatArray, spec: QuantSpec) -> QParams:
        axis = 1 if spec.per_channel else None
        low, high = rows.min(axis=axis, initial=0), rows.max(axis=axis, initial=0)
        return qparams_from_range(low, high, replace(spec, symmetric=True))
