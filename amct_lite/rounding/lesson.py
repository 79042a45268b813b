"""What the rounding of weights is learned from, beside the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from amct_lite.runtime import RuntimeOptions
from amct_lite.types import Feeds, QuantRecord
from amct_lite.weights import Rounder


@dataclass(frozen=True)
class Lesson:
    """rounders: layer → its weight method. corrected: whether biases will take back the mean error of a weight."""

    record: QuantRecord
    rounders: Mapping[str, Rounder]
    data: Sequence[Feeds]
    corrected: bool
    options: RuntimeOptions
