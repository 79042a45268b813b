"""Widths under a budget, as a knapsack: against numbers worked by hand and against trying everything."""

from __future__ import annotations

import itertools
import random
import sys
from math import fsum

import pytest

from amct_lite.errors import ConfigError
from amct_lite.search.knapsack import Choice, Variable, best_within, front, join, least_cost

# Two layers of 10 and 100 units at 16 bits; the second can lose much less at 4 bits than the first.
SMALL = Variable(("small",), (Choice("16", 10, 0.0), Choice("8", 5, 1.0), Choice("4", 2, 7.0)))
LARGE = Variable(("large",), (Choice("16", 100, 0.0), Choice("8", 50, 2.0), Choice("4", 20, 3.0)))


def everything(variables: tuple[Variable, ...]) -> list[tuple[int, float]]:
    """(cost, loss) of all combinations."""
    return [
        (sum(choice.cost for choice in picked), fsum(choice.loss for choice in picked))
        for picked in itertools.product(*(variable.choices for variable in variables))
    ]


def a_problem(seed: int) -> tuple[Variable, ...]:
    """Six variables of 1 to 4 choices; small whole costs, so that ties and equal sums are common."""
    dice = random.Random(seed)
    return tuple(
        Variable(
            (f"v{number}",),
            tuple(
                Choice(str(place), dice.randint(0, 9), dice.choice([0.0, 0.5, dice.random(), 1e-6 * dice.random()]))
                for place in range(dice.randint(1, 4))
            ),
        )
        for number in range(6)
    )


@pytest.mark.parametrize(
    ("budget", "picks", "loss"),
    [
        (110, {"small": "16", "large": "16"}, 0.0),
        (109, {"small": "8", "large": "16"}, 1.0),
        (104, {"small": "16", "large": "8"}, 2.0),  # 4 for the small one (102) would lose 7
        (59, {"small": "8", "large": "8"}, 3.0),  # and 16 + 4 (30) loses as much: the solver may take either
        (54, {"small": "16", "large": "4"}, 3.0),
        (29, {"small": "8", "large": "4"}, 4.0),
        (22, {"small": "4", "large": "4"}, 10.0),
    ],
)
def test_the_least_loss_within_a_budget(budget: int, picks: dict[str, str], loss: float) -> None:
    found = best_within((SMALL, LARGE), budget)
    assert found.loss == loss
    assert found.cost <= budget
    if budget != 59:
        assert found.picks == picks


def test_the_smallest_budget_takes_the_cheapest_of_every_variable() -> None:
    assert least_cost((SMALL, LARGE)) == 22
    assert best_within((SMALL, LARGE), 22).cost == 22


def test_the_front_goes_from_the_cheapest_point_to_the_least_loss_by_the_gain_for_each_unit() -> None:
    # Slopes: small 4→8 gains 6 for 3 (2 a unit), small 8→16 gains 1 for 5 (0.2); large 4→16 gains 3 for 80 (0.0375), and
    # 8 bits (2.0) lie above the line from 4 to 16 bits, which passes 1.875 there: no point of the hull.
    points = front((SMALL, LARGE))
    assert [(point.cost, point.loss) for point in points] == [(22, 10.0), (25, 4.0), (30, 3.0), (110, 0.0)]
    assert points[2].picks == {"small": "16", "large": "4"}


def test_what_costs_more_and_loses_more_is_never_chosen() -> None:
    odd = Variable(("odd",), (Choice("a", 5, 1.0), Choice("b", 6, 2.0), Choice("c", 5, 3.0)))
    assert [point.picks for point in front((odd,))] == [{"odd": "a"}]
    assert best_within((odd,), 10).picks == {"odd": "a"}


def test_what_must_agree_is_one_variable_with_what_all_its_members_offer() -> None:
    offers = {
        "q": (Choice("float", 9, 0.0), Choice("8", 4, 1.0), Choice("4", 2, 2.0)),
        "other": (Choice("float", 1, 0.0),),
        "k": (Choice("float", 9, 0.0), Choice("8", 4, 0.5)),
        "v": (Choice("8", 4, 0.25), Choice("float", 9, 0.0)),
    }
    variables = join(offers, [("q", "k"), ("v", "k", "no layer")])
    assert variables == (
        Variable(("q", "k", "v"), (Choice("float", 27, 0.0), Choice("8", 12, 1.75))),
        Variable(("other",), (Choice("float", 1, 0.0),)),
    )
    assert best_within(variables, 13).picks == {"q": "8", "k": "8", "v": "8", "other": "float"}


@pytest.mark.parametrize("seed", range(40))
def test_the_solver_finds_what_trying_everything_finds(seed: int) -> None:
    variables = a_problem(seed)
    points = everything(variables)
    for budget in range(min(cost for cost, _ in points), max(cost for cost, _ in points) + 1, 3):
        found = best_within(variables, budget)
        assert found.cost <= budget
        # Losses are told apart to 12 digits of the largest.
        assert found.loss == pytest.approx(min(loss for cost, loss in points if cost <= budget), rel=0, abs=1e-11)


@pytest.mark.parametrize("seed", range(40))
def test_the_front_is_the_lower_convex_hull_of_everything(seed: int) -> None:
    variables = a_problem(seed)
    points, found = everything(variables), front(variables)
    assert [point.cost for point in found] == sorted({point.cost for point in found})
    assert found[0].cost == min(cost for cost, _ in points)
    assert found[-1].loss == pytest.approx(min(loss for _, loss in points), abs=1e-12)
    for left, right in itertools.pairwise(found):
        rate = (left.loss - right.loss) / (right.cost - left.cost)
        assert rate > 0
        least = min(loss + rate * cost for cost, loss in points)
        assert left.loss + rate * left.cost == pytest.approx(least, abs=1e-9)
        assert right.loss + rate * right.cost == pytest.approx(least, abs=1e-9)


def test_costs_of_real_models_are_compared_to_the_last_unit() -> None:
    # One unit in 10^12 decides: far below the solver's tolerance.
    variables = tuple(
        Variable((name,), (Choice("8", 10**12 + extra, 0.0), Choice("4", 10**12 // 2, 1.0)))
        for name, extra in (("a", 0), ("b", 1))
    )
    assert best_within(variables, 2 * 10**12 + 1).loss == 0.0
    assert best_within(variables, 2 * 10**12).loss == 1.0


def test_without_scipy_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(ConfigError, match=r"pip install 'amct-lite\[search\]'"):
        best_within((SMALL, LARGE), 60)
