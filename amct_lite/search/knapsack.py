"""One choice for each variable, each with a cost and a loss: the multiple-choice knapsack.

    minimise  Σ loss(pick)   subject to   Σ cost(pick) <= budget

`best_within` is the exact optimum for one budget. `front` is all points that are the optimum for some exchange rate between
cost and loss: the lower convex hull of everything that can be chosen. It needs no solver: where costs and losses add up, the
hull of a sum is the sum of the hulls, its edges sorted by their slope (E. Zemel, 1980). Between two of its points there may
be more optima, one for each budget.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import fsum

from amct_lite.search.integer_program import least_loss


@dataclass(frozen=True)
class Choice:
    """cost: in whole units; loss: finite, in any unit that adds up."""

    name: str
    cost: int
    loss: float


@dataclass(frozen=True)
class Variable:
    """members: what has to agree on one choice. choices: costs and losses of all members together."""

    members: tuple[str, ...]
    choices: tuple[Choice, ...]


@dataclass(frozen=True)
class Point:
    """picks: member → name of its choice. cost, loss: of all together."""

    picks: Mapping[str, str]
    cost: int
    loss: float


def join(choices: Mapping[str, Sequence[Choice]], agreeing: Iterable[Collection[str]] = ()) -> tuple[Variable, ...]:
    """A variable for each name, or for all names that must agree, in the order of `choices`.

    agreeing: sets of names; sets that overlap are one. What agrees can choose what all its members offer.
    """
    sets: list[set[str]] = [{name} for name in choices]
    for together in map(set, agreeing):
        touched = [known for known in sets if known & together]
        sets = [known for known in sets if not known & together] + ([set.union(*touched)] if touched else [])
    home = {name: number for number, names in enumerate(sets) for name in names}
    members: dict[int, list[str]] = {}
    for name in choices:
        members.setdefault(home[name], []).append(name)
    return tuple(Variable(tuple(names), _common([choices[name] for name in names])) for names in members.values())


def front(variables: Sequence[Variable]) -> tuple[Point, ...]:
    """The supported points, the cheapest first, the one of least loss last; each has a higher cost and a smaller loss than the
    one before."""
    hulls = [_hull(variable.choices) for variable in variables]
    steps = sorted(
        (
            ((after.loss - before.loss) / (after.cost - before.cost), number, after)
            for number, hull in enumerate(hulls)
            for before, after in pairwise(hull)
        ),
        key=lambda step: step[0],  # of one variable they are in order already
    )
    picked = [hull[0] for hull in hulls]
    points = [_point(variables, picked)]
    for _, number, after in steps:
        picked[number] = after
        points.append(_point(variables, picked))
    return tuple(points)


def least_cost(variables: Sequence[Variable]) -> int:
    """The smallest budget that there are choices for."""
    return sum(min(choice.cost for choice in variable.choices) for variable in variables)


def best_within(variables: Sequence[Variable], budget: int) -> Point:
    """The choices of least loss that cost `budget` at most, which must be `least_cost` or more."""
    useful = [_useful(variable.choices) for variable in variables]
    costs = [[choice.cost for choice in choices] for choices in useful]
    losses = [[choice.loss for choice in choices] for choices in useful]
    picks = least_loss(costs, losses, budget)
    return _point(variables, [choices[pick] for choices, pick in zip(useful, picks, strict=True)])


def _common(offers: Sequence[Sequence[Choice]]) -> tuple[Choice, ...]:
    by_name = [{choice.name: choice for choice in offer} for offer in offers]
    shared = [choice.name for choice in offers[0] if all(choice.name in offer for offer in by_name)]
    return tuple(
        Choice(name, sum(offer[name].cost for offer in by_name), fsum(offer[name].loss for offer in by_name)) for name in shared
    )


def _useful(choices: Iterable[Choice]) -> list[Choice]:
    """Without those that cost no less than another and lose no less; the cheapest first."""
    kept: list[Choice] = []
    for choice in sorted(choices, key=lambda choice: (choice.cost, choice.loss)):
        if not kept or choice.loss < kept[-1].loss:
            kept.append(choice)
    return kept


def _hull(choices: Iterable[Choice]) -> list[Choice]:
    """Of the useful choices those on the lower convex hull."""
    hull: list[Choice] = []
    for choice in _useful(choices):
        while len(hull) > 1 and _above(hull[-1], hull[-2], choice):
            hull.pop()
        hull.append(choice)
    return hull


def _above(middle: Choice, left: Choice, right: Choice) -> bool:
    """Whether `middle` lies on or above the line from `left` to `right`."""
    return (middle.loss - left.loss) * (right.cost - left.cost) >= (right.loss - left.loss) * (middle.cost - left.cost)


def _point(variables: Sequence[Variable], picked: Sequence[Choice]) -> Point:
    picks = {name: choice.name for variable, choice in zip(variables, picked, strict=True) for name in variable.members}
    return Point(picks, sum(choice.cost for choice in picked), fsum(choice.loss for choice in picked))
