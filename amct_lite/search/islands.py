"""Which layers to leave in float so that a network gets faster: whole stretches of it, since every border costs a conversion.

They are tried in the order of what they promise, and kept only if a race proves it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

Layers = frozenset[str]
Race = Callable[[Layers, Layers], float]
"""(layers in float now, layers in float then) → time then over time now, measured."""

GAIN = 0.03
"""Less is not worth a layer in float, nor surely more than noise."""
MOST_RACES = 8


@dataclass(frozen=True)
class LayerTime:
    """What one layer takes, in any unit, on integers and in float."""

    name: str
    integer: float
    exact: float

    @property
    def promise(self) -> float:
        """What the layer in float would save."""
        return self.integer - self.exact


@dataclass(frozen=True)
class Attempt:
    """A race that was run. layers: those that it added to the ones in float. ratio: time with them over time without."""

    layers: tuple[str, ...]
    ratio: float

    @property
    def kept(self) -> bool:
        """Whether the gain was enough."""
        return self.ratio <= 1 - GAIN


def leave_in_float(times: Sequence[LayerTime], race: Race) -> tuple[Attempt, ...]:
    """The races, in order; those kept make up the answer. times: in the order of the network."""
    attempts: list[Attempt] = []
    chosen: Layers = frozenset()
    tried: set[Layers] = set()
    while len(attempts) < MOST_RACES:
        left = [layer for layer in times if layer.name not in chosen]
        fresh = [stretch for stretch in stretches(left) if frozenset(stretch) not in tried]
        if not fresh:
            break
        stretch = frozenset(fresh[0])
        tried.add(stretch)
        attempts.append(Attempt(fresh[0], race(chosen, chosen | stretch)))
        chosen = chosen | stretch if attempts[-1].kept else chosen
    return tuple(attempts)


def stretches(times: Sequence[LayerTime]) -> tuple[tuple[str, ...], ...]:
    """Stretches of layers that together promise to save time, those that promise most first: the best that begins at the first
    layer, the best that ends at the last, and each run of slower layers in between. Each but once, and never all of them: that
    is the float model."""
    starts = [times[:count] for count in range(1, len(times))]
    ends = [times[count:] for count in range(1, len(times))]
    best = [max(found, key=_promise) for found in (starts, ends) if found]
    promising = sorted((found for found in (*best, *_runs(times)) if _promise(found) > 0), key=_promise, reverse=True)
    return tuple(dict.fromkeys(tuple(layer.name for layer in found) for found in promising))


def _promise(layers: Sequence[LayerTime]) -> float:
    return sum(layer.promise for layer in layers)


def _runs(times: Sequence[LayerTime]) -> list[list[LayerTime]]:
    """Neighbouring layers each of which is slower on integers."""
    runs: list[list[LayerTime]] = [[]]
    for layer in times:
        if layer.promise > 0:
            runs[-1].append(layer)
        else:
            runs.append([])
    return [run for run in runs if 0 < len(run) < len(times)]
