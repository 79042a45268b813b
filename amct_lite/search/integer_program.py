"""The only door to SciPy, whose `milp` is the solver HiGHS: one choice a variable, the least loss within a budget."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

from amct_lite.errors import ConfigError

_SPREAD = 1e6
"""What the largest loss is scaled to. HiGHS takes solutions within 1e-6 of each other for equal: 12 digits of that loss."""
_LARGEST_COST = 1e3
"""What the largest cost is scaled to: a budget holds to within 1e-6, 9 digits of that cost. The rest is checked in integers."""


def least_loss(costs: Sequence[Sequence[int]], losses: Sequence[Sequence[float]], budget: int) -> tuple[int, ...]:
    """For each variable the index of its choice: Σ loss is least, Σ cost <= budget.

    There must be such choices. Raises ConfigError where SciPy is not installed.
    """
    optimize = require_scipy()
    shifted = [[loss - min(row) for loss in row] for row in losses]
    largest_loss = max(max(row) for row in shifted) or 1.0
    largest_cost = max(max(row) for row in costs) or 1
    objective = [loss * (_SPREAD / largest_loss) for row in shifted for loss in row]
    price = [cost * (_LARGEST_COST / largest_cost) for row in costs for cost in row]
    starts = [sum(len(row) for row in costs[:number]) for number in range(len(costs))]
    one_each = [
        [float(start <= place < start + len(row)) for place in range(len(objective))]
        for start, row in zip(starts, costs, strict=True)
    ]
    limits = [
        optimize.LinearConstraint(one_each, 1, 1),
        optimize.LinearConstraint([price], ub=budget * (_LARGEST_COST / largest_cost)),
    ]
    while True:
        solved = optimize.milp(
            objective, integrality=[1] * len(objective), bounds=(0, 1), constraints=limits, options={"mip_rel_gap": 0}
        )
        if solved.x is None:
            raise ArithmeticError(f"HiGHS found no choices: {solved.message}")
        picks = tuple(
            max(range(len(row)), key=lambda choice, start=start: solved.x[start + choice])  # type: ignore[misc]  # a default
            for start, row in zip(starts, costs, strict=True)
        )
        if sum(row[pick] for row, pick in zip(costs, picks, strict=True)) <= budget:
            return picks
        # Over the budget by less than the tolerance: these very choices are ruled out, no others.
        chosen = {start + pick for start, pick in zip(starts, picks, strict=True)}
        limits.append(
            optimize.LinearConstraint([[float(place in chosen) for place in range(len(objective))]], ub=len(costs) - 1)
        )


def require_scipy() -> ModuleType:
    """SciPy's solvers; to be asked for before long work that needs them. Raises ConfigError where SciPy is missing."""
    try:
        from scipy import optimize  # type: ignore[import-untyped]  # it comes without stubs
    except ImportError as error:
        raise ConfigError(
            "the best choice within a budget is found by SciPy's solver, which is not installed: "
            "pip install 'amct-lite[search]'"
        ) from error
    module: ModuleType = optimize
    return module
