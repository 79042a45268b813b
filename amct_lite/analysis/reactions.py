"""How strongly the outputs of a network react to an error at a layer: few measured, the others between them.

The reaction is the damage over the layer's own error, in relation to its signal. Both grow with the energy of the error as
long as it is small, so that the damage of another error at the same place is its own energy times the reaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

PASSES = 2.0
"""What the probes may cost together, in inference passes over the samples; each runs half of the network on average."""
FEWEST_PROBES = 8


@dataclass(frozen=True)
class Probes:
    """layers: at which to measure. samples: the numbers of the samples to measure with."""

    layers: tuple[str, ...]
    samples: tuple[int, ...]


def choose_probes(layers: Sequence[str], samples: int) -> Probes:
    """All layers with as many samples as PASSES allow; where one is too many already, as many layers as it allows. Both are
    spread evenly."""
    affordable = int(2 * PASSES * samples)
    number = max(1, affordable // len(layers))
    probed = len(layers) if affordable >= len(layers) else max(FEWEST_PROBES, affordable)
    return Probes(tuple(layers[i] for i in _spread(len(layers), probed)), _spread(samples, number))


def _spread(count: int, wanted: int) -> tuple[int, ...]:
    if wanted >= count:
        return tuple(range(count))
    return tuple(dict.fromkeys(np.linspace(0, count - 1, wanted).round().astype(int).tolist() if wanted > 1 else [count // 2]))


def interpolate(layers: Sequence[str], measured: Mapping[str, float]) -> dict[str, float]:
    """Layer → reaction. Between two layers that were measured it runs evenly in its logarithm, beyond the first and the last
    it stays; 0 everywhere where none was above 0."""
    known = [(place, measured[name]) for place, name in enumerate(layers) if 0 < measured.get(name, 0) < np.inf]
    if not known:
        return dict.fromkeys(layers, 0.0)
    places, values = zip(*known, strict=True)
    between = np.exp(np.interp(np.arange(len(layers)), places, np.log(values)))
    return {name: float(measured.get(name, value)) for name, value in zip(layers, between.tolist(), strict=True)}
