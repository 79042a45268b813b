"""The search against brute force over small cases; how many candidates it judges."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import combinations
from math import ceil, log2

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amct_lite.search.rollback import roll_back
from amct_lite.search.trials import BudgetSpentError, Found, Judgement, Layers, Trials

Accept = Callable[[Layers], bool]
FLOAT = Judgement(True, 0.0)
PLENTY = 10_000


class Counted:
    """A judge that counts, and remembers what it was asked."""

    def __init__(self, accept: Accept) -> None:
        self.accept = accept
        self.asked: list[Layers] = []

    def __call__(self, rolled_back: Layers) -> Judgement:
        self.asked.append(rolled_back)
        return Judgement(self.accept(rolled_back), 0.0)


def search(layers: list[str], accept: Accept, budget: int = PLENTY) -> tuple[Found, Counted]:
    judge = Counted(accept)
    return roll_back(layers, Trials(judge, layers, budget=budget, in_float=FLOAT)), judge


def names(count: int) -> list[str]:
    return [f"layer{number}" for number in range(count)]


def needs(*wanted: str) -> Accept:
    return lambda rolled_back: rolled_back >= set(wanted)


def fewest(layers: list[str], accept: Accept) -> int:
    sizes = range(len(layers) + 1)
    return next(n for n in sizes if n == len(layers) or any(accept(frozenset(c)) for c in combinations(layers, n)))


def no_single_layer_can_be_put_back(found: Iterable[str], accept: Accept) -> bool:
    rolled = frozenset(found)
    return not any(accept(rolled - {layer}) for layer in rolled)


@given(st.lists(st.floats(0, 10), min_size=1, max_size=7), st.floats(0, 30))
def test_additive_losses_and_a_right_ranking_give_the_minimum_of_brute_force(losses: list[float], allowed: float) -> None:
    losses = sorted(losses, reverse=True)
    layers = names(len(losses))
    cost = dict(zip(layers, losses, strict=True))

    def accept(rolled_back: Layers) -> bool:
        return sum(cost[layer] for layer in layers if layer not in rolled_back) <= allowed

    found, _ = search(layers, accept)
    assert len(found.rolled_back) == fewest(layers, accept)
    assert found.minimal


@given(st.integers(1, 24), st.data())
def test_monotone_metrics_need_just_the_wanted_layers_within_the_bound(count: int, data: st.DataObject) -> None:
    layers = names(count)
    wanted = data.draw(st.sets(st.sampled_from(layers), min_size=1))
    found, judge = search(layers, needs(*wanted))
    assert found.rolled_back == wanted
    prefix = max(layers.index(layer) for layer in wanted) + 1
    assert len(judge.asked) <= 1 + ceil(log2(count)) + 3 * prefix


@given(st.integers(1, 6), st.sets(st.integers(1, 62)))
def test_whatever_the_metric_no_single_layer_can_be_put_back(count: int, acceptable: set[int]) -> None:
    """Any set of acceptable subsets, monotone or not."""
    layers = names(count)
    bit = {layer: 1 << number for number, layer in enumerate(layers)}

    def accept(rolled_back: Layers) -> bool:
        return len(rolled_back) == count or sum(bit[layer] for layer in rolled_back) in acceptable

    found, judge = search(layers, accept)
    assert accept(found.rolled_back)
    assert no_single_layer_can_be_put_back(found.rolled_back, accept)
    assert found.minimal
    assert len(judge.asked) == len(set(judge.asked))


def test_all_quantized_acceptable_is_one_candidate() -> None:
    found, judge = search(names(9), lambda _: True)
    assert (found.rolled_back, judge.asked) == (frozenset(), [frozenset()])


def test_few_needed_layers_far_down_the_ranking_cost_little() -> None:
    """60 of 64 are put back in groups that double, not one by one."""
    layers = names(64)
    found, judge = search(layers, needs("layer0", "layer20", "layer40", "layer63"))
    assert found.rolled_back == {"layer0", "layer20", "layer40", "layer63"}
    assert len(judge.asked) <= 60


def test_all_in_float_is_never_judged() -> None:
    layers = names(5)
    found, judge = search(layers, needs(*layers))
    assert found.rolled_back == set(layers)
    assert frozenset(layers) not in judge.asked


@pytest.mark.parametrize("budget", range(1, 20))
def test_a_spent_budget_gives_the_best_so_far_and_says_so(budget: int) -> None:
    accept = needs("layer1", "layer6")
    found, judge = search(names(12), accept, budget)
    assert len(judge.asked) <= budget
    assert accept(found.rolled_back)
    assert found.budget_spent != found.minimal
    everything, _ = search(names(12), accept)
    assert found.minimal == (found.rolled_back == everything.rolled_back and not found.budget_spent)


def test_a_set_is_judged_once_and_known_ones_are_free() -> None:
    judge = Counted(needs("a"))
    trials = Trials(judge, "ab", budget=1, in_float=FLOAT)
    assert trials("a").acceptable
    assert trials("a").acceptable
    assert trials("ab") == FLOAT
    with pytest.raises(BudgetSpentError):
        trials("b")
    assert judge.asked == [frozenset("a")]
    assert trials.fewest() == {"a"}
