"""What other commands measured of a run, in short: findings, a line of its course, the first rows of its tables."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape

from amct_lite.cli.layout import PROSE, print_table, say
from amct_lite.page.sections import LAYERS
from amct_lite.page.values import Analysis, Table

_MOST_ROWS = 6
_WIDEST = 60
_LONGEST_CELL = 40
"""Longer cells are sentences, which wrap; longer names are cut."""
_ROOM_FOR_PROSE = 26
_BLOCKS = "▁▂▃▄▅▆▇█"


def print_analyses(out: Console, analyses: Sequence[Analysis]) -> None:
    """Those that were measured one after the other, then the commands of the others."""
    for analysis in analyses:
        if analysis.source:
            _print_analysis(out, analysis)
    for analysis in analyses:
        if not analysis.source:
            say(out, f"[dim]{escape(analysis.title[0].lower() + analysis.title[1:])}:[/] `{escape(analysis.command)}`")


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
        values = tuple((name, f"{value:.6g}") for name, value in analysis.series.values)
        _print_table(out, Table(("layer", f"#{analysis.series.label}"), values, LAYERS))
    for table in first:
        _print_table(out, table)
    out.print()


def _print_table(out: Console, table: Table) -> None:
    rows = table.rows[:_MOST_ROWS]
    kept = fitting(table.columns, rows, out.width)
    columns = [PROSE if _widest(rows, place) > _LONGEST_CELL else table.columns[place] for place in kept]
    cells = [(row[0], *(escape(row[place]) for place in kept[1:])) for row in rows]
    more = len(table.rows) > len(rows)
    print_table(out, f"{table.title}, the first {len(rows)} of {len(table.rows)}" if more else table.title, columns, cells)


def fitting(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> tuple[int, ...]:
    """Places of the columns that stand beside each other in `width`; from the right, those go first that are no sentences."""

    def taken(place: int) -> int:
        widest = _widest(rows, place)
        return _ROOM_FOR_PROSE if widest > _LONGEST_CELL else max(widest, len(columns[place].removeprefix("#"))) + 2

    kept = list(range(len(columns)))
    while len(kept) > 2 and sum(map(taken, kept)) > width:
        loose = [place for place in kept[1:] if _widest(rows, place) <= _LONGEST_CELL]
        kept.remove((loose or kept)[-1])
    return tuple(kept)


def _widest(rows: Sequence[Sequence[str]], place: int) -> int:
    """Of the cells of a column, in characters; names, in the first, are cut where they are too long."""
    widest = max((len(row[place]) for row in rows), default=0)
    return widest if place else min(widest, _LONGEST_CELL)


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
