"""Which rows of a table of layers say the same: a tensor between layers has a row for each node that reads it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from amct_lite.reports.report import LayerRow

SHARED = "Tensors with the same numbers, as several Concat read them, share a row; --json and piped output have each."


def sharing(rows: Sequence[LayerRow], *, terminal: bool) -> Mapping[str, int]:
    """The rows to print, by name, each with how many it stands for: in a terminal, one for all single tensors that nodes of one
    operator type read with the same numbers and notes; elsewhere every row for itself. No row is left out uncounted."""
    if not terminal:
        return {row.name: 1 for row in rows}
    what = {row.name: replace(row, name="") if row.tensor else row for row in rows}
    counts = Counter(what.values())
    first: dict[LayerRow, str] = {}
    for name, row in what.items():
        first.setdefault(row, name)
    return {name: counts[row] for row, name in first.items()}


def labels(row: LayerRow, count: int) -> tuple[str, str]:
    """Name and operator of a row that stands for `count`."""
    return (row.name, row.op_type) if count == 1 else (f"{row.name} and others", f"{count} {row.op_type}")
