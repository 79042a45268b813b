"""Which point of the front is taken: the optimum for a budget, or the cheapest one whose measured loss is acceptable."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from amct_lite.errors import CalibrationError, ConfigError
from amct_lite.precision.budget import Budget
from amct_lite.precision.measured import Measured
from amct_lite.search.knapsack import Point, UnaffordableError, Variable, best_within


@dataclass(frozen=True)
class Prices:
    """Of one kind of cost. whole: the float model that shares refer to; fixed: what no choice changes; what: its name."""

    what: str
    whole: int
    fixed: int

    def share(self, cost: int) -> float:
        """Of a point that costs `cost` beside what is fixed."""
        return (cost + self.fixed) / self.whole


def within_budget(budget: Budget, prices: Prices, variables: Sequence[Variable], front: Sequence[Point]) -> Point:
    """The optimum. Raises ConfigError for a budget that nothing fits in, or everything in float does."""
    limit = budget.units(prices.whole, prices.fixed) - prices.fixed
    try:
        point = best_within(variables, limit)
    except UnaffordableError as error:
        least = error.least + prices.fixed
        raise ConfigError(
            f"the budget {budget} ({limit + prices.fixed:,} {prices.what}) cannot be met: the smallest that can is "
            f"{prices.what}={_up(least / prices.whole)} ({least:,} {prices.what}). Allow more, or narrower widths (--widths)."
        ) from None
    if point.cost >= front[-1].cost:
        raise ConfigError(
            f"the budget {budget} leaves every layer in float, which costs {prices.what}={prices.share(front[-1].cost):.4g}: "
            "nothing is to be quantized. Allow less."
        )
    return point


def _up(share: float) -> str:
    """Four digits, rounded up, so that the number itself can be met."""
    text = f"{share:.4g}"
    return text if float(text) >= share else f"{share * 1.0005:.4g}"


def cheapest_acceptable(
    front: Sequence[Point], measure: Callable[[Point], Measured], acceptable: Callable[[Measured], bool]
) -> Point:
    """The cheapest point found by bisection over `front`, whose cheaper neighbour is not acceptable.

    The last one, with nothing quantized, is acceptable by definition. Raises CalibrationError where no other is.
    """
    rejected, accepted = -1, len(front) - 1
    while accepted - rejected > 1:
        middle = (rejected + accepted) // 2
        if acceptable(measure(front[middle])):
            accepted = middle
        else:
            rejected = middle
    if accepted == len(front) - 1:
        told = ""
        if len(front) > 1:
            best = measure(front[-2])
            lost = (
                f"{best.metric_loss:g} of the metric"
                if best.metric_loss is not None
                else f"{best.loss:.4g} (error over signal)"
            )
            told = f" The point next to float loses {lost}."
        raise CalibrationError(
            f"no quantized point keeps the loss.{told} Allow a larger loss, or wider widths (--widths W8A16)."
        )
    return front[accepted]


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
