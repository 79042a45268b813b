"""What a report says in words, the same on the page and in the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import inf

from amct_lite.reports.report import Report
from amct_lite.types import Skip
from amct_lite.validate.equivalence import Equivalence

SLOWER = 1.2
"""An integer kernel that takes so many times as long as the float one is named."""

MOST_NAMED = 5
"""In a warning or a note."""

UNJUDGED = "shown, not judged: that takes samples"
"""Of values that were compared on random numbers."""


def is_slower(microseconds: float | None, float_microseconds: float | None) -> bool:
    """Whether an integer kernel is worth a word; None: not measured."""
    return microseconds is not None and float_microseconds is not None and microseconds > SLOWER * float_microseconds


def by_reason(skips: Iterable[Skip]) -> tuple[tuple[str, tuple[Skip, ...]], ...]:
    """(reason, whose it is), the most common reason first."""
    groups: dict[str, list[Skip]] = {}
    for skip in skips:
        groups.setdefault(skip.reason, []).append(skip)
    return tuple((reason, tuple(group)) for reason, group in sorted(groups.items(), key=lambda item: -len(item[1])))


def some(names: Sequence[str], most: int = MOST_NAMED, *, between: str = ", ") -> str:
    """The first `most` of `names`, and how many more there are."""
    more = len(names) - most
    return between.join(names[:most]) + (f" and {more} more" if more > 0 else "")


def on_integers(integer: int, count: int) -> str:
    """How many of the `count` convolutions and matrix products of a model, whatever stood in their place in the float model."""
    if not count:
        return "there are no convolutions and matrix products"
    return f"{integer} of {count} convolutions and matrix products run as integer kernels"


def decibels(sqnr_db: float, before: str = "") -> str:
    """`35.9 dB`, with `before` in front; where there is no error there are none."""
    return "no difference" if sqnr_db == inf else f"{before}{sqnr_db:.1f} dB"


def cell_of_decibels(sqnr_db: float) -> str:
    """`35.9`, in a column of decibels."""
    return "exact" if sqnr_db == inf else f"{sqnr_db:.1f}"


def accumulators(e: Equivalence, report: Report) -> str:
    """Their steps are the product of both scales: a difference of some is nothing where the data have 16 bits."""
    if any("INT16" in row.types for row in report.layers):
        return (
            f"accumulators equal up to float32's rounding ({e.accumulator_error:.2g} of their steps, which are 256 times finer "
            "with 16-bit data)"
        )
    if e.accumulator_error > 1:  # of accumulators of millions
        return f"accumulators equal up to float32's rounding ({e.accumulator_error:.2g} steps)"
    return f"accumulators equal (within {e.accumulator_error:.2g} of a step)"
