"""What is said of some layers only, and what holds for one layer in the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Override:
    """Deviations for an operator type or for the nodes of a pattern; None: as for all other layers.

    options: belong to `algorithm`; without one they are added to the options that hold otherwise. weight_options likewise.
    """

    skip: bool | None = None
    algorithm: str | None = None
    options: Mapping[str, object] | None = None
    bits: int | None = None
    symmetric: bool | None = None
    weight_algorithm: str | None = None
    weight_options: Mapping[str, object] | None = None
    weight_bits: int | None = None
    per_channel: str | None = None
    balance: float | None = None


@dataclass(frozen=True)
class LayerConfig:
    """What holds for one layer. skip: why it stays in float, empty when it does not. Other fields as in QuantConfig."""

    skip: str
    algorithm: str
    bits: int
    symmetric: bool
    weight_algorithm: str
    weight_bits: int
    per_channel: str
    options: Mapping[str, object] = field(default_factory=dict)
    weight_options: Mapping[str, object] = field(default_factory=dict)
    balance: float = 0.0

    def overridden(self, override: Override, reason: str) -> LayerConfig:
        """With the deviations of `override`; `reason` is what `skip` says when it skips the layer."""
        merged = {"skip", "options", "weight_options"}
        given = {name: value for name, value in vars(override).items() if value is not None and name not in merged}
        kept = self.options if override.algorithm in {None, self.algorithm} else {}
        kept_weight = self.weight_options if override.weight_algorithm in {None, self.weight_algorithm} else {}
        return replace(
            self,
            **given,
            skip=self.skip if override.skip is None else reason if override.skip else "",
            options={**kept, **(override.options or {})},
            weight_options={**kept_weight, **(override.weight_options or {})},
        )
