"""How results look in a terminal: one table of layers, what was skipped, the comparison, warnings last so they are seen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from amct_lite.pipeline import Progress as Advance
from amct_lite.reports.report import Report
from amct_lite.reports.warnings import POOR_SQNR_DB
from amct_lite.result import QuantizeResult


def console(*, stderr: bool = False) -> Console:
    """As wide as the terminal; 160 columns where the output is no terminal, so that names survive in logs."""
    plain = Console(stderr=stderr, highlight=False)
    return plain if plain.is_terminal else Console(stderr=stderr, highlight=False, width=160)


@contextmanager
def progress_bar(*, hidden: bool) -> Iterator[Advance]:
    """A bar a stage on standard error, with rate and time left where the total is known."""
    columns = (
        TextColumn("{task.description:<14}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    stages: dict[str, TaskID] = {}
    with Progress(*columns, console=console(stderr=True), transient=True, disable=hidden) as progress:

        def advance(stage: str, done: int, total: int | None) -> None:
            if stage not in stages:
                stages[stage] = progress.add_task(stage, total=total, rate="")
            progress.advance(stages[stage], done)
            task = next(task for task in progress.tasks if task.id == stages[stage])
            progress.update(task.id, rate=f"{task.speed:.1f}/s" if task.speed else "")

        yield advance


def finish(result: QuantizeResult, files: tuple[Path, ...], seconds: float, *, as_json: bool, quiet: bool) -> None:
    """Print what a run gives; a missing deploy model is raised after everything else has been said."""
    out = console()
    if as_json:
        out.file.write(result.report.to_json())
    elif not quiet:
        print_report(out, result.report, files, seconds)
    if not as_json:
        _print_warnings(console(stderr=quiet), result.report)
    if result.exports.deploy_problem is not None:
        raise result.exports.deploy_problem


def print_report(out: Console, report: Report, files: tuple[Path, ...], seconds: float) -> None:
    """The end of a run."""
    if report.layers:
        out.print(_layer_table(report))
    if report.skips:
        out.print(_skip_table(report))
    for note in report.notes:
        out.print(f"[dim]note:[/] {escape(note)}")
    _print_comparison(out, report)
    for file in files:
        out.print(f"wrote {escape(str(file))} ({_size(file.stat().st_size)})")
    out.print(f"{len(report.layers)} layers quantized, {len(report.skips)} left in float, {seconds:.1f} s")
    if report.deploy_shapes and "deploy" in report.sizes:
        out.print(escape(_atc_command(report, files)), style="cyan")


def _print_warnings(out: Console, report: Report) -> None:
    for warning in report.warnings:
        out.print(f"[bold yellow]warning:[/] {escape(warning)}")


def _layer_table(report: Report) -> Table:
    table = Table(title=f"{report.model}: quantized layers", title_justify="left", expand=False)
    measured = any(row.sqnr_db is not None for row in report.layers)
    for name, justify in (
        ("layer", "left"),
        ("op", "left"),
        ("scale_d", "right"),
        ("offset_d", "right"),
        ("weights", "left"),
    ):
        table.add_column(name, justify=justify, overflow="fold")  # type: ignore[arg-type]  # literals of rich
    if measured:
        table.add_column("SQNR dB", justify="right")
        table.add_column("cosine", justify="right")
    table.add_column("notes", overflow="fold")
    for row in report.layers:
        cells = [escape(row.name), row.op_type, f"{row.scale_d:.6g}", str(row.offset_d), row.weight]
        if measured:
            poor = row.sqnr_db is not None and row.sqnr_db < POOR_SQNR_DB
            text = "" if row.sqnr_db is None else f"{row.sqnr_db:.1f}"
            cells.append(f"[bold yellow]{text}[/]" if poor else text)
            cells.append("" if row.cosine is None else f"{row.cosine:.6f}")
        table.add_row(*cells, escape("; ".join(row.notes)))
    return table


def _skip_table(report: Report) -> Table:
    table = Table(title="left in float", title_justify="left")
    for name in ("layer", "op", "reason"):
        table.add_column(name, overflow="fold")
    for skip in report.skips:
        table.add_row(escape(skip.node), skip.op_type, escape(skip.reason))
    return table


def _print_comparison(out: Console, report: Report) -> None:
    for error in report.outputs:
        out.print(
            f"fake-quant against float, output {escape(error.name)!s}, {report.compared_samples} batches: "
            f"MSE {error.mse:.4g}, cosine {error.cosine:.6f}, SQNR {error.sqnr_db:.1f} dB"
        )
    if report.equivalence:
        e = report.equivalence
        out.print(
            f"deploy against fake-quant, executed on {e.samples} batches ({report.equivalence_data}): {e.layers} layers, "
            f"accumulators equal (within {e.accumulator_error:.2g} of a step), {100 * e.code_mismatch:.4f} % of codes on a tie"
        )
    sizes = ", ".join(f"{name} {_size(size)}" for name, size in report.sizes.items())
    out.print(f"weights: {sizes}")


def _atc_command(report: Report, files: tuple[Path, ...]) -> str:
    deploy = next(file for file in files if file.name.endswith("deploy_model.onnx"))
    shapes = ";".join(f"{name}:{','.join(map(str, dims))}" for name, dims in report.deploy_shapes.items())
    stem = str(deploy).removesuffix("_deploy_model.onnx").removesuffix(".onnx")
    return (
        f"atc --framework=5 --model={deploy} --output={stem} "
        f'--input_shape="{shapes}" --soc_version=<your chip, e.g. Ascend310P3>'
    )


def _size(count: int) -> str:
    return f"{count / 1e6:.2f} MB" if count >= 100_000 else f"{count / 1e3:.1f} kB"
