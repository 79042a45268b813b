"""What a weight quantizer is, and the table of all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

from amct_lite.registry import Registry
from amct_lite.types import FloatArray, IntArray, QParams, QuantSpec
from amct_lite.weights.reconstruction import Reconstruction


class WeightQuantizer(Protocol):
    """A rule that decides the scales of a weight; zero points are 0, as the device demands. A frozen dataclass: its fields
    are its options, checked when it is made."""

    def qparams(self, rows: FloatArray, spec: QuantSpec) -> QParams:
        """rows: (C, n) float32, one row a channel. A scale a row when `spec.per_channel`, else one for all.

        Raises NumericsError if a weight is NaN or infinite (names the channel).
        """
        ...


@runtime_checkable
class Rounder(WeightQuantizer, Protocol):
    """One that also decides, from what a layer reads and should give, which integer each weight becomes."""

    def candidates(self, task: Reconstruction) -> Iterator[IntArray]:
        """(C, n) int32 codes within `task.grid`, one way of rounding or several to choose from; the same task gives the
        same codes."""
        ...


WEIGHT_QUANTIZERS: Registry[Callable[..., WeightQuantizer]] = Registry("weight method", "amct_lite.weights")


def make_weight_quantizer(name: str, options: Mapping[str, Any] | None = None) -> WeightQuantizer:
    """See `Registry.make`."""
    return WEIGHT_QUANTIZERS.make(name, options or {})


def scale_rows(rows: FloatArray, spec: QuantSpec) -> FloatArray:
    """The rows that get a scale of their own: all of them, or the whole weight as one."""
    return rows if spec.per_channel else rows.reshape(1, -1)
