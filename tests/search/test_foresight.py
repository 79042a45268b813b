"""What a search asks for next is foreseen, whatever the answers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable

import pytest

from amct_lite.search.foresight import upcoming
from amct_lite.search.rollback import roll_back
from amct_lite.search.trials import Judgement, Layers, Trials


def bisection(acceptable: Callable[[int], bool]) -> int:
    """The first acceptable number of 1 to 8."""
    low, high = 0, 8
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if acceptable(middle) else (middle, high)
    return high


def test_a_bisection_is_foreseen_level_by_level() -> None:
    assert upcoming(bisection, {}, 1) == [4]
    assert upcoming(bisection, {}, 3) == [4, 2, 6]
    assert upcoming(bisection, {}, 99) == [4, 2, 6, 1, 3, 5, 7]
    assert upcoming(bisection, {4: False}, 3) == [6, 5, 7]
    assert upcoming(bisection, {4: False, 6: True, 5: True}, 3) == []


ORDER = list("abcde")


def search(acceptable: Callable[[Layers], bool]) -> None:
    everything = Judgement(acceptable=True, loss=0.0)
    roll_back(ORDER, Trials(lambda layers: Judgement(acceptable(layers), 0.0), ORDER, budget=99, in_float=everything))


class Watched:
    """Answers that `needed` asks for; foreseen: at each question, asked: the questions."""

    def __init__(self, needed: Iterable[str]) -> None:
        self._needed = frozenset(needed)
        self._known: dict[Layers, bool] = {}
        self.asked: list[Layers] = []
        self.foreseen: list[list[Layers]] = []

    def __call__(self, layers: Layers) -> bool:
        self.foreseen.append(upcoming(search, self._known, 3))
        self.asked.append(layers)
        self._known[layers] = self._needed <= layers
        return self._known[layers]


@pytest.mark.parametrize("needed", [c for size in range(4) for c in itertools.combinations(ORDER, size)], ids="".join)
def test_whatever_the_answers_this_step_and_the_next_are_foreseen(needed: tuple[str, ...]) -> None:
    watched = Watched(needed)
    search(watched)
    for number, layers in enumerate(watched.asked):
        assert watched.foreseen[number][0] == layers
        assert number == 0 or layers in watched.foreseen[number - 1]
