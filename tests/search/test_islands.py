"""Stretches of a network that are faster in float: what is tried, in which order, and what is kept."""

from __future__ import annotations

from itertools import pairwise

import pytest

from amct_lite.search.islands import MOST_RACES, Layers, LayerTime, leave_in_float, stretches


def network(*promises: float) -> list[LayerTime]:
    """Layers a, b, c … that would save so much in float."""
    return [LayerTime(chr(ord("a") + number), 100 + promise, 100) for number, promise in enumerate(promises)]


@pytest.mark.parametrize(
    ("promises", "expected"),
    [
        ((170, 134, -49, 22, -13), ["ab", "bcde", "d"]),
        ((5, -1, 5, -90), ["abc", "a", "c"]),  # a faster layer between two slower ones goes with them
        ((-5, -5, 3), ["c"]),
        ((-5, -5), []),
        ((-9, 4, 5, -9), ["bc"]),
        ((5, 5), ["a", "b"]),  # all of them would be the float model
        ((5,), []),
        ((), []),
    ],
)
def test_stretches_that_promise_most_come_first(promises: tuple[float, ...], expected: list[str]) -> None:
    assert ["".join(found) for found in stretches(network(*promises))] == expected


class Timer:
    """Milliseconds of a network: what each layer takes, and 10 for each border between floats and integers."""

    def __init__(self, times: list[LayerTime], border: float = 10) -> None:
        self._times, self._border = times, border
        self.races: list[tuple[str, str]] = []

    def total(self, layers: Layers) -> float:
        inside = [layer.name in layers for layer in self._times]
        borders = sum(left != right for left, right in pairwise(inside))
        return borders * self._border + sum(
            layer.exact if exact else layer.integer for layer, exact in zip(self._times, inside, strict=True)
        )

    def __call__(self, now: Layers, then: Layers) -> float:
        self.races.append(("".join(sorted(now)), "".join(sorted(then))))
        return self.total(then) / self.total(now)


def test_what_wins_its_race_stays_and_the_next_one_runs_against_it() -> None:
    timer = Timer(times := network(170, 134, -49, 22, -13))
    attempts = leave_in_float(times, timer)
    # ab saves 304 - 10 of 764; d would save 22 and cost two borders, 2 of 470 are too little, and de even less
    assert timer.races == [("", "ab"), ("ab", "abd"), ("ab", "abde")]
    assert [attempt.kept for attempt in attempts] == [True, False, False]
    assert attempts[0].ratio == pytest.approx(470 / 764)


def test_a_promise_that_the_borders_eat_up_is_not_kept() -> None:
    timer = Timer(times := network(-50, 15, -50))
    assert [attempt.kept for attempt in leave_in_float(times, timer)] == [False]


def test_what_is_left_grows_only_by_races_that_are_won() -> None:
    """Noise may make a race look lost; the layers stay quantized then, and are not tried again."""
    times = network(50, -90, 50)
    attempts = leave_in_float(times, lambda _now, then: 0.9 if "c" in then else 1.0)
    assert [("".join(attempt.layers), attempt.kept) for attempt in attempts] == [("a", False), ("c", True)]


def test_a_large_network_is_not_raced_for_ever() -> None:
    times = network(*([5, -4] * 50))
    assert len(leave_in_float(times, lambda _now, _then: 1.0)) == MOST_RACES


def test_a_network_that_is_fast_on_integers_is_not_raced_at_all() -> None:
    assert leave_in_float(network(-1, -2), lambda _now, _then: 0.5) == ()
