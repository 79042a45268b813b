"""The search for the fewest layers to leave in float: bisection over a ranking, then layers are put back.

1. *Bisection.* Find k so that leaving the k most sensitive layers in float is acceptable and the k - 1 most sensitive are
   not: ceil(log2 n) candidates.
2. *Putting back.* From the least sensitive of them on, put groups back into int8: the group doubles after a success and halves
   after a failure, so r layers that are all needed cost r candidates, and a few needed among many cost their number times
   log r. Sweeps are repeated until one changes nothing: then no single layer can be put back.

Neither step takes the metric for monotone. Where it is (leaving another layer in float never hurts), the second sweep only
confirms the first, and all together costs at most ceil(log2 n) + 3 r candidates. Finding the true minimum would cost 2^n; the
result is the minimum where losses add up and the ranking is right.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from amct_lite.search.trials import BudgetSpentError, Found, Layers, Trials


def roll_back(layers: Sequence[str], trials: Trials) -> Found:
    """The layers to leave in float.

    layers: the most sensitive first; none of them in float is known to be unacceptable, or is judged first.
    """
    best: Layers = frozenset(layers)
    try:
        if trials(()).acceptable:
            return Found(frozenset(), minimal=True)
        for better in _improvements(layers, trials):
            best = better
    except BudgetSpentError:
        return Found(best, minimal=False, budget_spent=True)
    return Found(best, minimal=True)


def _improvements(layers: Sequence[str], trials: Trials) -> Iterator[Layers]:
    """Acceptable sets, each smaller than the one before."""
    low, high = 0, len(layers)  # so many in float: not acceptable, acceptable
    while high - low > 1:
        middle = (low + high) // 2
        if trials(layers[:middle]).acceptable:
            high = middle
            yield frozenset(layers[:high])
        else:
            low = middle
    needed = list(layers[:high])
    changed = True
    while changed:
        changed = False
        for fewer in _sweep(needed, trials):
            needed, changed = fewer, True
            yield frozenset(needed)


def _sweep(needed: list[str], trials: Trials) -> Iterator[list[str]]:
    """One way from the least sensitive layer to the most sensitive one; yields what is left after each success."""
    end, size = len(needed), 1
    while end > 0:
        start = max(end - size, 0)
        fewer = needed[:start] + needed[end:]
        if trials(fewer).acceptable:
            size, end, needed = 2 * (end - start), start, fewer
            yield needed
        elif end - start > 1:
            size = (end - start) // 2
        else:
            end, size = start, 1
