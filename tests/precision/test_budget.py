"""Budgets as text, and what they come to."""

from __future__ import annotations

import pytest

from amct_lite.errors import ConfigError
from amct_lite.precision.budget import Budget


@pytest.mark.parametrize(
    ("text", "kind", "units"),
    [
        ("bitops=0.25", "bitops", 250),
        ("bitops = 25%", "bitops", 250),
        ("bitops=1", "bitops", 1000),  # a share
        ("bitops=700", "bitops", 700),
        ("bytes=.5", "bytes", 500),
        ("bytes=0.9k", "bytes", 900),
        ("bytes=1.5M", "bytes", 1_500_000),
        ("bitops=2e3", "bitops", 2000),
        ("bitops=0.3", "bitops", 300),  # 0.3 * 1000 is 299.99999999999994 and less
    ],
)
def test_shares_are_of_the_whole_and_larger_numbers_as_they_are(text: str, kind: str, units: int) -> None:
    budget = Budget.parse(text)
    assert (budget.kind, budget.units(1000)) == (kind, units)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bitop=0.25", "'bitop' is not known .did you mean 'bitops'"),
        ("latency=3ms", "'latency' is not known"),
        ("0.25", "'0.25' is not understood"),
        ("bitops=much", "is not understood"),
        ("bitops=-1", "is not understood"),
        ("bitops=0", "must be a number above 0"),
        ("max-loss=1%", "plain number in the units of the metric"),
    ],
)
def test_what_is_wrong_with_a_budget_is_said(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Budget.parse(text)


def test_a_loss_of_nothing_may_be_asked_for() -> None:
    assert Budget.parse("max-loss=0") == Budget("max-loss", 0.0)
    assert Budget.parse("max-loss=0").cost == "bitops"
