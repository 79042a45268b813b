"""How anything looks on paper: consoles, tables, sizes and counts. Knows nothing of what is shown."""

from __future__ import annotations

import io
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Literal

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from amct_lite.reports.units import size

__all__ = [
    "NARROW",
    "PIPE_WIDTH",
    "PROSE",
    "TIGHT",
    "console",
    "count_of",
    "entries",
    "print_annotated",
    "print_table",
    "quantity",
    "say",
    "say_whole",
    "size",
    "write_text",
]

PIPE_WIDTH = 400
NARROW = 100
"""Columns of a terminal below which tables leave out what can be missed."""
TIGHT = 72
"""Columns below which they leave out, or make shorter, one more thing rather than break words."""
_GAP = 2
_SHORTEST_NAME = 16
_SHORTEST_TEXT = 8
PROSE = "notes"
_WRAPPED = {PROSE: 24, "reason": 30}
"""Columns of running text, and the width that is kept for them."""
_CONTROLS = {code: repr(chr(code))[1:-1] for code in (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029)}
"""Names of a model may hold them; a terminal would break the line there, or obey."""


def console(*, stderr: bool = False) -> Console:
    """As wide as the terminal; where the output is no terminal, wide enough that a row stays one line for grep."""
    plain = Console(stderr=stderr, highlight=False, emoji=False)
    return plain if plain.is_terminal else Console(stderr=stderr, highlight=False, emoji=False, width=PIPE_WIDTH)


def say(out: Console, text: str) -> None:
    """A line of running text (markup): words wrap in a terminal, nothing wraps elsewhere."""
    out.print(_visible(text), soft_wrap=not out.is_terminal)


def say_whole(out: Console, text: str, *, style: str | None = None) -> None:
    """A line that is made to be copied, never broken."""
    out.print(escape(_visible(text)), style=style, soft_wrap=True)


def print_table(out: Console, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A row a layer (markup, but for the name in the first column), then an empty line. Control characters are escaped.

    Names too long for the terminal are cut in the middle, which is said below the table; elsewhere they are whole.
    Columns whose title begins with `#` are numbers, never cut: in a terminal too narrow for them a row is running text.
    """
    say(out, f"[bold]{escape(title)}[/]")  # not the table's own, which would wrap it at the width of the table
    shown = [tuple(map(_visible, row)) for row in rows]
    if _least_width(columns, shown) > out.width:
        _print_as_text(out, columns, shown)
        return
    result = Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for name in columns:
        number = name.startswith("#")
        justify: Literal["left", "right"] = "right" if number else "left"
        whole = number or name == columns[0]
        overflow: Literal["fold", "ellipsis"] = "ellipsis" if whole else "fold"
        result.add_column(name.removeprefix("#"), justify=justify, overflow=overflow, no_wrap=whole)
    longest = _room_for_names(out, columns, shown)
    for name, *cells in shown:
        result.add_row(escape(_cut(name, longest)), *cells)
    out.print(result)
    if any(len(name) > longest for name, *_ in shown):
        say(out, "[dim]Names are cut in the middle; --json and piped output have them whole.[/]")
    out.print()


def _print_as_text(out: Console, columns: Sequence[str], rows: Sequence[tuple[str, ...]]) -> None:
    titles = [title.removeprefix("#") for title in columns[1:]]
    for name, *cells in rows:
        told = (f"[dim]{title}[/] {cell}" if title else cell for title, cell in zip(titles, cells, strict=True) if cell)
        say(out, f"[bold]{escape(name)}[/]: {', '.join(told)}")
    out.print()


def print_annotated(
    out: Console, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str]
) -> None:
    """`print_table` with a note a row, in a last column; in a narrow terminal each note once, below, with its count."""
    if not any(notes):
        print_table(out, title, columns, rows)
    elif out.width >= NARROW:
        noted = [(*row, escape(note)) for row, note in zip(rows, notes, strict=True)]
        print_table(out, title, (*columns, PROSE), noted)
    else:
        print_table(out, title, columns, rows)
        for note, count in Counter(filter(None, notes)).items():
            say(out, f"[dim]{count_of(count, 'layer')}:[/] {escape(note)}")
        out.print()


def _room_for_names(out: Console, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    widths = _widths(columns, rows)
    taken = sum(min(width, _WRAPPED.get(title, width)) + _GAP for title, width in widths)
    return max(out.width - taken, _SHORTEST_NAME)


def _least_width(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """Of a table with whole numbers, whose text and names give way as far as they can."""
    taken = sum(
        (width if title.startswith("#") else min(width, _SHORTEST_TEXT)) + _GAP for title, width in _widths(columns, rows)
    )
    return taken + min(max((len(name) for name, *_ in rows), default=0), _SHORTEST_NAME)


def _widths(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[tuple[str, int]]:
    """Each column but that of the names, with the room that it takes."""
    of_cells = zip(columns[1:], *(row[1:] for row in rows), strict=True)
    return [
        (title, max(Text.from_markup(cell, emoji=False).cell_len for cell in (title.removeprefix("#"), *cells)))
        for title, *cells in of_cells
    ]


def _cut(name: str, longest: int) -> str:
    """`name` with its middle left out when it is too long; the tail tells nodes of one block apart and gets more room."""
    if len(name) <= longest:
        return name
    tail = 2 * longest // 3
    return f"{name[: longest - tail - 1]}…{name[-tail:]}"


def _visible(text: str) -> str:
    """`text` with its control characters as Python writes them: a name stays in its line, and is told from others."""
    return text.translate(_CONTROLS)


def write_text(text: str) -> None:
    """Plain text (JSON, a record) to standard output as it would stand in a file: UTF-8, whatever the terminal's encoding."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="replace")
    sys.stdout.write(text if text.endswith("\n") else f"{text}\n")


def entries(layers: int, tensors: int) -> str:
    """`3 layers`, `3 layers and 1 tensor`, `2 tensors`."""
    counts = [count_of(layers, "layer")] * bool(layers or not tensors) + [count_of(tensors, "tensor")] * bool(tensors)
    return " and ".join(counts)


def quantity(count: float) -> str:
    """A large count in three digits with k, M, G, T or P."""
    for power, letter in ((15, "P"), (12, "T"), (9, "G"), (6, "M"), (3, "k")):
        if count >= 10**power:
            digits = count / 10**power
            return f"{digits:.{2 if digits < 10 else 1 if digits < 100 else 0}f} {letter}"
    return f"{count:g}"


def metric_text(metric: float | tuple[float, ...]) -> str:
    """What an evaluator measured: a number, or several."""
    numbers = metric if isinstance(metric, tuple) else (metric,)
    return ", ".join(f"{number:.6g}" for number in numbers)


def count_of(count: int, noun: str, plural: str = "") -> str:
    """`1 layer`, `2 layers`."""
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"
