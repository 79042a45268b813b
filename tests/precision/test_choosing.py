"""Which point is taken, and what is said of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from amct_lite.errors import CalibrationError, ConfigError
from amct_lite.precision.budget import Budget
from amct_lite.precision.choosing import (
    Prices,
    cheapest_acceptable,
    descend,
    least_measured,
    neighbours,
    optima,
    remarks,
    within_budget,
)
from amct_lite.precision.measured import Measured
from amct_lite.search.knapsack import Choice, Point, Variable, best_within, front

# Costs 2, 4, 10 and 1, 3, 10; beside them 5 units are fixed, and the float model costs 25.
VARIABLES = (
    Variable(("a",), (Choice("float", 10, 0.0), Choice("8", 4, 1.0), Choice("4", 2, 4.0))),
    Variable(("b",), (Choice("float", 10, 0.0), Choice("8", 3, 0.5), Choice("4", 1, 9.0))),
)
POINTS = front(VARIABLES)
PRICES = Prices("bytes", whole=25, fixed=5)


def measured(loss: float) -> Measured:
    return Measured({}, 0, 0, 0, loss, loss)


@pytest.mark.parametrize(("budget", "cost"), [("bytes=8", 3), ("bytes=0.4", 5), ("bytes=0.48", 7), ("bytes=24", 13)])
def test_what_is_fixed_is_spent_before_anything_is_chosen(budget: str, cost: int) -> None:
    assert within_budget(Budget.parse(budget), PRICES, VARIABLES).cost == cost


def test_a_share_of_the_layers_leaves_out_what_is_fixed() -> None:
    # 0.35 of 20 is 7 for the layers; of the whole it would be 8.75, 3 of them for the layers.
    assert within_budget(Budget("bytes", 0.35, of_layers=True), PRICES, VARIABLES).cost == 7
    assert within_budget(Budget("bytes", 0.35), PRICES, VARIABLES).cost == 3


def test_the_smallest_budget_that_is_named_can_be_met() -> None:
    with pytest.raises(ConfigError, match=r"\(7 bytes\) cannot be met: the smallest that can is bytes=0\.32 \(8 bytes\)"):
        within_budget(Budget.parse("bytes=7"), PRICES, VARIABLES)
    assert within_budget(Budget.parse("bytes=0.32"), PRICES, VARIABLES).cost == 3


def test_bisection_measures_few_points_and_ends_beside_one_that_is_rejected() -> None:
    asked: list[int] = []

    def measure(point: object) -> Measured:
        asked.append(point.cost)  # type: ignore[attr-defined]
        return measured(point.loss)  # type: ignore[attr-defined]

    point = cheapest_acceptable(POINTS, measure, lambda found: found.loss <= 5)
    below, above = neighbours(POINTS, point)
    assert point.loss <= 5
    assert below is not None
    assert below.loss > 5
    assert above is not None
    assert above.cost > point.cost
    assert len(asked) <= 3
    with pytest.raises(CalibrationError, match="The point next to float loses"):
        cheapest_acceptable(POINTS, measure, lambda _found: False)


def test_where_float_is_not_allowed_the_most_expensive_point_has_to_be_measured() -> None:
    quantized = front([Variable(v.members, v.choices[1:]) for v in VARIABLES])
    assert quantized[-1].loss == 1.5
    assert cheapest_acceptable(quantized, lambda p: measured(p.loss), lambda found: found.loss <= 1.5) == quantized[-1]
    with pytest.raises(CalibrationError, match=r"The most expensive point loses 1\.5 \(error over signal\)"):
        cheapest_acceptable(quantized, lambda p: measured(p.loss), lambda found: found.loss < 1.5)


def test_a_point_that_loses_nothing_but_is_quantized_is_an_answer() -> None:
    exact = (Variable(("a",), (Choice("float", 10, 0.0), Choice("8", 4, 0.0))),)
    assert within_budget(Budget.parse("bytes=24"), PRICES, exact).picks == {"a": "8"}
    assert cheapest_acceptable(front(exact), lambda p: measured(p.loss), lambda found: found.loss <= 0).picks == {"a": "8"}


def test_a_cheaper_neighbour_that_is_better_when_measured_is_told() -> None:
    assert remarks(measured(0.2), None) == ()
    assert remarks(measured(0.2), measured(0.3)) == ()
    assert "loses less when it is measured (0.1 against 0.2)" in remarks(measured(0.2), measured(0.1))[0]


def test_optima_are_found_for_losses_that_add_up_and_for_what_they_count_beside_the_others() -> None:
    variables = (
        Variable(("a",), (Choice("8", 3, 1.0), Choice("4", 1, 6.0))),
        Variable(("b",), (Choice("8", 3, 2.0), Choice("4", 1, 3.0))),
        Variable(("c",), (Choice("16", 4, 0.0), Choice("8", 2, 4.0))),
    )

    def solve(given: Sequence[Variable]) -> Point:
        return best_within(given, 7)

    def factors(picks: Mapping[str, str]) -> dict[str, float]:
        return {"4": 0.2} if "4" in picks.values() else {}

    (plain, _), (settled, weights) = optima(solve, variables, factors, {})
    assert plain.picks == {"a": "8", "b": "4", "c": "8"}  # 1 + 3 + 4; three others within 7 lose 9 and more
    assert settled.picks == {"a": "4", "b": "4", "c": "16"}  # 1.2 + 0.6 + 0, where the first has 1 + 0.6 + 4
    assert settled == best_within(weights, 7)
    assert [point.picks for point, _ in optima(solve, variables, lambda _: {}, {})] == [plain.picks]
    assert [point.picks for point, _ in optima(solve, variables, lambda _: {}, {"4": 0.2})] == [plain.picks, settled.picks]


def test_a_cheaper_point_that_loses_less_when_it_is_measured_is_taken() -> None:
    expected = {point.cost: point.loss for point in POINTS}
    real = {**expected, POINTS[1].cost: 0.0}
    taken = least_measured(POINTS[2], POINTS, lambda point: measured(real[point.cost]))
    assert taken == POINTS[1]
    assert least_measured(POINTS[2], POINTS, lambda point: measured(expected[point.cost])) == POINTS[2]


def test_cost_that_the_estimate_was_too_careful_for_is_saved_one_choice_at_a_time() -> None:
    """Measured is a fifth of what is expected, and the bound lies between two points of the front."""
    asked: list[int] = []

    def measure(point: object) -> Measured:
        asked.append(point.cost)  # type: ignore[attr-defined]
        return measured(point.loss / 5)  # type: ignore[attr-defined]

    def acceptable(found: Measured) -> bool:
        return found.loss <= 1.85  # 9.25 expected: b with 4 and a in float is 9, with 8 it is 10

    start = cheapest_acceptable(POINTS, measure, acceptable)
    found = descend(start, VARIABLES, POINTS, measure, acceptable)
    every = [(a.cost + b.cost, (a.loss + b.loss) / 5) for a in VARIABLES[0].choices for b in VARIABLES[1].choices]
    assert found.cost <= start.cost
    assert found.cost == min(cost for cost, loss in every if loss <= 1.85)
    below, _ = neighbours(POINTS, found)
    assert below is None or below.loss / 5 > 1.85
    assert len(asked) <= 12


def test_nothing_that_is_refused_is_taken() -> None:
    start = POINTS[2]
    assert (
        descend(start, VARIABLES, POINTS, lambda point: measured(point.loss), lambda found: found.loss <= start.loss) == start
    )
