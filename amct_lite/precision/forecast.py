"""What a whole model is expected to lose, from what each of its layers loses alone.

Errors of independent layers add up as long as they are small. Large ones saturate: what is left of the signal shrinks with each
of them, 1 - loss = exp(-u), and it is u that adds up. And where many layers are coarse, the roundings and biases of each are
learned behind the others and take part of their errors back. How much that is, is measured where it is most: with the same
widths w for all layers the model has g(w) times the sum. A model in between has the share s(w) of that sum, and

    u = Σ over w of  sum(w) · g(w) ^ s(w)

which is the sum for a single layer and what was measured for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import fsum

from amct_lite.precision.losses import Losses, loss_at, strength
from amct_lite.precision.space import Offers
from amct_lite.search.knapsack import Variable

Picks = Mapping[str, str]
LEAST_GAIN, MOST_GAIN = 1e-3, 10.0


@dataclass(frozen=True)
class Forecast:
    """strengths: of the losses of layers alone. gains: widths → the strength of what all layers with them lose together, over
    the sum of what they have alone; 1 where that is not known."""

    strengths: Losses
    gains: Mapping[str, float]

    @staticmethod
    def of(offers: Offers, losses: Losses, measure: Callable[[Picks], float]) -> Forecast:
        """measure: the loss of a model with these widths."""
        strengths = {name: {layer: strength(loss) for layer, loss in row.items()} for name, row in losses.items()}
        alone, gains = Forecast(strengths, {}), {}
        for name in offers.uniform:
            picks = offers.everywhere(name, "W8A8")
            expected = fsum(alone._sums(picks).values())
            found = strength(measure(picks)) / expected if name in picks.values() and expected else 1.0
            gains[name] = min(max(found, LEAST_GAIN), MOST_GAIN)
        return Forecast(strengths, gains)

    def __call__(self, picks: Picks) -> float:
        """The loss of a model with these widths."""
        factors = self.factors(picks)
        return loss_at(fsum(total * factors[name] for name, total in self._sums(picks).items()))

    def factors(self, picks: Picks) -> dict[str, float]:
        """Widths → what the loss of a layer alone counts for in a model like `picks`."""
        sums = self._sums(picks)
        whole = {name: fsum(row.values()) for name, row in self.strengths.items()}
        shares = {name: min(1.0, sums.get(name, 0.0) / whole[name]) if whole[name] else 0.0 for name in whole}
        return {name: self.gains.get(name, 1.0) ** share for name, share in shares.items()}

    def _sums(self, picks: Picks) -> dict[str, float]:
        found: dict[str, list[float]] = {}
        for layer, name in picks.items():
            if name in self.strengths:
                found.setdefault(name, []).append(self.strengths[name][layer])
        return {name: fsum(values) for name, values in found.items()}


def weighed(variables: Sequence[Variable], factors: Mapping[str, float]) -> tuple[Variable, ...]:
    """The same choices, their losses times the factor of their widths (1 where there is none)."""
    return tuple(
        replace(variable, choices=tuple(replace(c, loss=c.loss * factors.get(c.name, 1.0)) for c in variable.choices))
        for variable in variables
    )
