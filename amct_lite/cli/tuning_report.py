"""What tuning tried, told: a row a race, then what was left in float."""

from __future__ import annotations

from rich.markup import escape

from amct_lite.cli.layout import console, count_of, print_table, say
from amct_lite.reports.wording import some
from amct_lite.search.islands import GAIN
from amct_lite.tuning import Tuned

_NAMED = 3


def tell_tuning(tuned: Tuned) -> None:
    """On standard output."""
    out = console()
    rows = [
        (some(attempt.layers, _NAMED), f"{attempt.ratio:.3f}", "[green]kept[/]" if attempt.kept else "not kept")
        for attempt in tuned.attempts
    ]
    if rows:
        print_table(out, "time with layers in float", ("layers", "#of before", ""), rows)
    left = f"{count_of(len(tuned.in_float), 'layer')} left in float: {', '.join(tuned.in_float)}"
    nothing = f"no layer in float gains {100 * GAIN:.0f} % or more"
    say(out, f"tuning: {escape(left) if tuned.in_float else nothing}. Valid for this machine; other processors may differ.")
