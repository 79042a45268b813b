"""What a weight quantizer is, and the table of all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from amct_lite.registry import Registry
from amct_lite.types import FloatArray, QParams, QuantSpec


class WeightQuantizer(Protocol):
    """A rule that decides the scales of a weight; zero points are 0, as the device demands."""

    def qparams(self, rows: FloatArray, spec: QuantSpec) -> QParams:
        """rows: (C, n) float32, one row a channel. A scale a row when `spec.per_channel`, else one for all.

        Raises NumericsError if a weight is NaN or infinite (names the channel).
        """
        ...


WEIGHT_QUANTIZERS: Registry[Callable[[], WeightQuantizer]] = Registry("weight method", "amct_lite.weights")


def make_weight_quantizer(name: str) -> WeightQuantizer:
    """The weight quantizer called `name`. Raises ConfigError that lists the names."""
    return WEIGHT_QUANTIZERS.get(name)()


def scale_rows(rows: FloatArray, spec: QuantSpec) -> FloatArray:
    """The rows that get a scale of their own: all of them, or the whole weight as one."""
    return rows if spec.per_channel else rows.reshape(1, -1)
