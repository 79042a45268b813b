"""The flow of the error on paper: a row a tensor in the order of the graph, where it jumps, what could not be compared."""

from __future__ import annotations

from math import inf

from rich.markup import escape

from amct_lite.build import TARGETS
from amct_lite.cli.layout import NARROW, console, count_of, print_table, say
from amct_lite.diagnosis.compare import JUMP_DB, Comparison, TensorError
from amct_lite.reports.wording import decibels, some

_NAMED = 5


_ELSEWHERE = (
    "The model for ONNX Runtime has other tensors where operators or channels were rewritten; the fake-quant model of its run "
    "has them all."
)


def print_comparison(found: Comparison) -> None:
    """Everything, on standard output."""
    out = console()
    narrow = out.width < NARROW
    columns = (
        "tensor",
        "op",
        "#SQNR",
        "#alone",
        *(() if narrow else ("#cosine",)),
        "#max err",
        *(() if narrow else ("#max",)),
        "",
    )
    rows = [_cells(row, narrow=narrow) for row in found.tensors]
    print_table(out, f"{found.other} against {found.exact}: SQNR in dB", columns, rows)
    if jumps := [row for row in found.tensors if row.jump]:
        first = some([f"{row.name} ({row.node})" for row in jumps], _NAMED)
        say(out, f"[bold yellow]the error jumps[/] by more than {JUMP_DB:.0f} dB first at {escape(first)}")
    for what, names in (
        ("not in the second model", found.unmatched),
        ("not compared, of another shape or not finite", found.skipped),
    ):
        if names:
            say(out, f"{what}: {escape(some(names, _NAMED if narrow else len(names)))}")
    if found.unmatched and found.other.endswith(TARGETS["ort"].suffix):
        say(out, f"[dim]{_ELSEWHERE}[/]")
    worst = {row.name: row for row in found.tensors if row.name in found.outputs}
    for name, row in worst.items():
        error = decibels(row.sqnr_db, "SQNR ") + (f", cosine {row.cosine:.6f}" if row.sqnr_db != inf else "")
        say(out, f"output {escape(name)}: {error} ({count_of(found.samples, 'batch', 'batches')})")


def _cells(row: TensorError, *, narrow: bool) -> tuple[str, ...]:
    cosine = () if narrow else (f"{row.cosine:.5f}",)
    largest = () if narrow else (f"{row.max_value:.3g}",)
    jump = "[yellow]jump[/]" if row.jump else ""
    return (row.name, row.op_type, _db(row.sqnr_db), _db(row.isolated_db), *cosine, f"{row.max_error:.3g}", *largest, jump)


def _db(sqnr_db: float) -> str:
    return "exact" if sqnr_db == inf else f"{sqnr_db:.1f}"
