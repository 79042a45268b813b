"""Judges sets of layers left in float, each set once, within a budget."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

Layers = frozenset[str]


@dataclass(frozen=True)
class Judgement:
    """Whether the metric of a candidate is acceptable, and how much is lost, in the metric's own units."""

    acceptable: bool
    loss: float


class BudgetSpentError(Exception):
    """Inside of a search: no further candidate may be judged. Never reaches the user."""


@dataclass(frozen=True)
class Found:
    """rolled_back: the best acceptable set. minimal: no single layer of it can be put back, all of that was tried.
    budget_spent: the search would have gone on."""

    rolled_back: Layers
    minimal: bool
    budget_spent: bool = False


class Trials:
    """judge: what a candidate costs, called once for each set. everything: all layers, which in float are acceptable by
    definition and cost nothing. budget: how many sets may be judged."""

    def __init__(
        self, judge: Callable[[Layers], Judgement], everything: Iterable[str], *, budget: int, in_float: Judgement
    ) -> None:
        self._judge = judge
        self._everything = frozenset(everything)
        self._known = {self._everything: in_float}
        self.left = budget

    def __call__(self, rolled_back: Iterable[str]) -> Judgement:
        """Raises BudgetSpentError when the set is new and nothing is left."""
        layers = frozenset(rolled_back)
        if layers not in self._known:
            if self.left <= 0:
                raise BudgetSpentError
            self.left -= 1
            self._known[layers] = self._judge(layers)
        return self._known[layers]

    def fewest(self) -> Layers:
        """Of the acceptable sets that are known the one with the fewest layers; the first of equals."""
        return min((layers for layers, judgement in self._known.items() if judgement.acceptable), key=len)
