"""What other commands measured of a run, in short: findings, a line of its course, the first rows of its tables."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape

from amct_lite.cli.layout import print_table, say
from amct_lite.page.sections import LAYERS
from amct_lite.page.values import Analysis, Table

_MOST_ROWS = 6
_WIDEST = 60
_BLOCKS = "▁▂▃▄▅▆▇█"


def print_analyses(out: Console, analyses: Sequence[Analysis]) -> None:
    """Those that were measured one after the other, then the commands of the others."""
    for analysis in analyses:
        if analysis.source:
            _print_analysis(out, analysis)
    for analysis in analyses:
        if not analysis.source:
            say(out, f"[dim]{escape(analysis.title.lower())}:[/] `{escape(analysis.command)}`")


def _print_analysis(out: Console, analysis: Analysis) -> None:
    say(out, f"[bold]{escape(analysis.title)}[/] [dim](from {escape(analysis.source)})[/]")
    if analysis.stale:
        say(out, f"[bold yellow]not of this run:[/] {escape(analysis.stale)} Run `{escape(analysis.command)}` again.")
    for finding in analysis.findings:
        say(out, escape(finding))
    if analysis.flow is not None and (line := course(analysis.flow.accumulated)):
        say(out, f"accumulated, along the graph: {line}")
    first = analysis.tables[:1]
    if analysis.series is not None and not any(table.title == LAYERS for table in first):
        values = tuple((name, f"{value:.4g}") for name, value in analysis.series.values)
        _print_table(out, Table(("layer", f"#{analysis.series.label}"), values, LAYERS))
    for table in first:
        _print_table(out, table)
    out.print()


def _print_table(out: Console, table: Table) -> None:
    rows = [(first, *map(escape, rest)) for first, *rest in table.rows[:_MOST_ROWS]]
    more = len(table.rows) - len(rows)
    print_table(out, f"{table.title}, the first {len(rows)} of {len(table.rows)}" if more else table.title, table.columns, rows)


def course(values: Sequence[float | None]) -> str:
    """A character for each of some equal parts of `values`, as high as their mean lies between the lowest and the highest in
    dB, which stand beside it."""
    known = [value for value in values if value is not None]
    if not known:
        return ""
    low, high = min(known), max(known)
    width = min(_WIDEST, len(values))
    parts = [values[len(values) * i // width : len(values) * (i + 1) // width] for i in range(width)]
    line = "".join(_block([value for value in part if value is not None], low, high) for part in parts)
    return f"{line} ({low:.1f} to {high:.1f} dB)"


def _block(values: Sequence[float], low: float, high: float) -> str:
    if not values:
        return " "
    share = (sum(values) / len(values) - low) / (high - low) if high > low else 1.0
    return _BLOCKS[round(share * (len(_BLOCKS) - 1))]
