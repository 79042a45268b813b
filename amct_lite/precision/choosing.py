"""Which point of the front is taken: the optimum for a budget, or the cheapest one whose measured loss is acceptable."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from amct_lite.errors import CalibrationError, ConfigError
from amct_lite.precision.ahead import Key, key_of
from amct_lite.precision.budget import Budget
from amct_lite.precision.forecast import weighed
from amct_lite.precision.measured import Measured
from amct_lite.precision.widths import FLOATS
from amct_lite.search.foresight import upcoming
from amct_lite.search.knapsack import Point, Variable, best_within, least_cost

MOST_ROUNDS = 6
MOST_STEPS = 4
MOST_TRIALS = 12
"""Each costs a model that is exported, run and evaluated."""


@dataclass(frozen=True)
class Prices:
    """Of one kind of cost. whole: the float model that shares refer to; fixed: what no choice changes; what: its name."""

    what: str
    whole: int
    fixed: int

    def share(self, cost: int) -> float:
        """Of a point that costs `cost` beside what is fixed."""
        return (cost + self.fixed) / self.whole


def require_affordable(budget: Budget, prices: Prices, variables: Sequence[Variable]) -> None:
    """Raises ConfigError for a budget of costs that nothing fits in; losses do not matter."""
    limit, least = budget.units(prices.whole, prices.fixed), least_cost(variables) + prices.fixed
    if least > limit:
        raise ConfigError(
            f"the budget {budget} ({limit:,} {prices.what}) cannot be met: the smallest that can is "
            f"{prices.what}={_up(least / prices.whole)} ({least:,} {prices.what}). Allow more, or narrower widths (--widths)."
        )


def within_budget(budget: Budget, prices: Prices, variables: Sequence[Variable]) -> Point:
    """The optimum. Raises ConfigError for a budget that nothing fits in, or everything in float does."""
    require_affordable(budget, prices, variables)
    point = best_within(variables, budget.units(prices.whole, prices.fixed) - prices.fixed)
    if _in_float(point):
        raise ConfigError(
            f"the budget {budget} leaves every layer in float, which costs {prices.what}={prices.share(point.cost):.4g}: "
            "nothing is to be quantized. Allow less."
        )
    return point


def _up(share: float) -> str:
    """Four digits, rounded up, so that the number itself can be met."""
    text = f"{share:.4g}"
    return text if float(text) >= share else f"{share * 1.0005:.4g}"


def optima(
    solve: Callable[[Sequence[Variable]], Point],
    variables: Sequence[Variable],
    factors: Callable[[Mapping[str, str]], Mapping[str, float]],
    gains: Mapping[str, float],
) -> list[tuple[Point, tuple[Variable, ...]]]:
    """What may be the optimum, each with the variables that it is the optimum of: for losses that add up; as they count beside
    the others that are chosen; and as they count (`gains`) where all layers are alike. Which is the best, a measurement tells.

    factors: what the loss of a layer alone counts for in a model with given widths. It depends on what is chosen and the other
    way round, so both are found in turns until the choice stays, MOST_ROUNDS at most.
    """
    found = [(solve(variables), tuple(variables))]
    point, weights = found[0]
    for _ in range(MOST_ROUNDS):
        weights = weighed(variables, factors(point.picks))
        again = solve(weights)
        if again.picks == point.picks:
            break
        point = again
    dense = weighed(variables, gains)
    found += [(point, weights), (solve(dense), dense)]
    return [one for number, one in enumerate(found) if one[0].picks not in [other[0].picks for other in found[:number]]]


def least_measured(point: Point, front: Sequence[Point], measure: Callable[[Point], Measured]) -> Point:
    """`point`, or a cheaper one of the front next to it as long as that loses less when it is measured."""
    for _ in range(MOST_STEPS):
        below, _above = neighbours(front, point)
        if below is None or measure(below).loss >= measure(point).loss:
            break
        point = below
    return point


def cheapest_acceptable(
    front: Sequence[Point], measure: Callable[[Point], Measured], acceptable: Callable[[Measured], bool]
) -> Point:
    """The cheapest point found by bisection over `front`, whose cheaper neighbour is not acceptable.

    A point with nothing quantized is acceptable by definition, but no answer. Raises CalibrationError where no other is.
    """
    rejected, accepted = -1, len(front) - 1
    if not _in_float(front[-1]) and not acceptable(last := measure(front[-1])):
        raise _nothing_acceptable("The most expensive point", last)
    while accepted - rejected > 1:
        middle = (rejected + accepted) // 2
        if acceptable(measure(front[middle])):
            accepted = middle
        else:
            rejected = middle
    if _in_float(front[accepted]):
        raise _nothing_acceptable("The point next to float", measure(front[-2]) if len(front) > 1 else None)
    return front[accepted]


def asked_next(
    variables: Sequence[Variable], front: Sequence[Point], known: Mapping[Key, bool], count: int
) -> list[dict[str, str]]:
    """Up to `count` points that `cheapest_acceptable`, `descend` and then the neighbours of what they find ask for next, for
    either answer. known: whether a point is acceptable, as far as it was measured."""

    def search(answer: Callable[[Key], bool]) -> None:
        def measure(point: Point) -> Measured:
            return Measured(point.picks, 0, 0, 0, point.loss, point.loss)

        def acceptable(found: Measured) -> bool:
            return answer(key_of(found.picks))

        with suppress(CalibrationError):  # where none is acceptable the search ends
            start = cheapest_acceptable(front, measure, acceptable)
            chosen = descend(start, variables, front, measure, acceptable)
            for beside in filter(None, neighbours(front, chosen)):
                acceptable(measure(beside))

    return [dict(key) for key in upcoming(search, known, count)]


def descend(
    point: Point,
    variables: Sequence[Variable],
    front: Sequence[Point],
    measure: Callable[[Point], Measured],
    acceptable: Callable[[Measured], bool],
) -> Point:
    """A cheaper point that is acceptable when it is measured, from `point`, which is: one variable at a time takes a cheaper
    choice, first where the most is saved for what it is expected to lose. It ends after MOST_STEPS refusals, beside a point of
    the front that is not acceptable."""
    refused: set[tuple[int, str]] = set()
    steps = 0
    while len(refused) < MOST_STEPS and steps < MOST_TRIALS:
        below, _above = neighbours(front, point)
        if below is not None and not _in_float(below) and acceptable(measure(below)):
            point = below
            continue
        moves = [move for move in _moves(point, variables) if move[1:3] not in refused]
        if not moves:
            break
        steps += 1
        _, number, name, moved = min(moves, key=lambda move: move[:3])
        if acceptable(measure(moved)):
            point = moved
        else:
            refused.add((number, name))
    return point


def _moves(point: Point, variables: Sequence[Variable]) -> Iterable[tuple[float, int, str, Point]]:
    """Every way to make one variable cheaper: loss per cost that is saved, number of the variable, choice, the point."""
    for number, variable in enumerate(variables):
        now = next(choice for choice in variable.choices if choice.name == point.picks[variable.members[0]])
        for choice in variable.choices:
            if choice.cost < now.cost:
                saved, lost = now.cost - choice.cost, choice.loss - now.loss
                picks = {**point.picks, **dict.fromkeys(variable.members, choice.name)}
                yield lost / saved, number, choice.name, Point(picks, point.cost - saved, point.loss + lost)


def _in_float(point: Point) -> bool:
    return all(name in FLOATS for name in point.picks.values())


def _nothing_acceptable(which: str, best: Measured | None) -> CalibrationError:
    told = ""
    if best is not None:
        lost = f"{best.metric_loss:g} of the metric" if best.metric_loss is not None else f"{best.loss:.4g} (error over signal)"
        told = f" {which} loses {lost}."
    return CalibrationError(f"no quantized point keeps the loss.{told} Allow a larger loss, or wider widths (--widths W8A16).")


def neighbours(front: Sequence[Point], chosen: Point) -> tuple[Point | None, Point | None]:
    """The points of the front right below and right above the cost of `chosen`."""
    below = [point for point in front if point.cost < chosen.cost]
    above = [point for point in front if point.cost > chosen.cost]
    return (below[-1] if below else None), (above[0] if above else None)


def remarks(chosen: Measured, cheaper: Measured | None) -> tuple[str, ...]:
    """Where measurements contradict the estimate that was minimised."""
    if cheaper is None or cheaper.loss >= chosen.loss:
        return ()
    figures = f"{cheaper.loss:.3g} against {chosen.loss:.3g}"
    text = f"the next cheaper point loses less when it is measured ({figures}): a slightly smaller budget takes it"
    return (text,)
