"""How a run looks in a terminal: one table of layers, what was skipped, the comparison, warnings last so they are seen."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from amct_lite.cli.alike import SHARED, labels, sharing
from amct_lite.cli.layout import (
    NARROW,
    TIGHT,
    console,
    count_of,
    entries,
    print_annotated,
    print_table,
    say,
    say_whole,
    size,
    write_text,
)
from amct_lite.cli.speed import gained_beside_time, say_speed, speed_content, speed_of
from amct_lite.reports.report import LayerRow, Report
from amct_lite.reports.warnings import POOR_SQNR_DB
from amct_lite.reports.wording import UNJUDGED, accumulators, cell_of_decibels, decibels
from amct_lite.result import QuantizeResult
from amct_lite.running import Progress as Advance
from amct_lite.runtime import RuntimeOptions
from amct_lite.types import Skip
from amct_lite.validate.kernels import Kernels

_MANY_ALIKE = 6
"""Rows that differ in nothing but the layer's name."""


@contextmanager
def progress_bar(*, hidden: bool) -> Iterator[Advance]:
    """A bar a stage on standard error, with rate and time left where the total is known; only in a terminal."""
    err = console(stderr=True)
    if hidden or not err.is_terminal:
        yield lambda _stage, _done, _total: None
        return
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn  # slow to import

    columns = (
        TextColumn("{task.description:<14}"),
        BarColumn(),
        TextColumn("{task.fields[count]}"),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
    )
    stages: dict[str, TaskID] = {}
    with Progress(*columns, console=err, transient=True) as progress:

        def advance(stage: str, done: int, total: int | None) -> None:
            if stage not in stages:
                for earlier in progress.tasks:  # a stage that skipped something is over all the same
                    progress.update(earlier.id, completed=earlier.total)
                stages[stage] = progress.add_task(stage, total=total, count="", rate="")
            task = next(task for task in progress.tasks if task.id == stages[stage])
            if done and total and (task.finished or task.total != total):  # a stage that comes again begins anew
                progress.reset(task.id, total=total)
            progress.advance(task.id, done)
            count = f"{task.completed:.0f}" + (f"/{total}" if total else "") if task.completed or total else ""
            progress.update(task.id, count=count, rate=f"{task.speed:.1f}/s" if task.speed else "")

        yield advance


def finish(
    result: QuantizeResult, files: tuple[Path, ...], seconds: float, runtime: RuntimeOptions, *, as_json: bool, quiet: bool
) -> None:
    """Print what a run gives; a missing deploy model is raised after everything else has been said. runtime: how the run ran,
    and so how the speed of its model is measured."""
    if as_json:
        speed = speed_of(result, runtime)
        report = json.loads(result.report.to_json()) | ({"latency": speed_content(speed)} if speed else {})
        write_text(json.dumps(report, indent=1, ensure_ascii=False))
    else:
        if not quiet:
            print_report(console(), result.report, files, seconds)
        _print_warnings(console(stderr=quiet), result.report)
        if speed := speed_of(result, runtime):  # takes a moment: everything else has been said
            say_speed(console(stderr=quiet), speed, quiet=quiet, gained=gained_beside_time(result.report))
    if result.exports.deploy_problem is not None:
        raise result.exports.deploy_problem


def print_report(out: Console, report: Report, files: tuple[Path, ...], seconds: float) -> None:
    """The end of a run."""
    if report.layers:
        _print_layers(out, report)
    if report.skips:
        print_skips(out, report.skips)
    for note in report.notes:
        say(out, f"[dim]note:[/] {escape(note)}")
    _print_comparison(out, report)
    for file in files:
        say_whole(out, f"wrote {file} ({size(file.stat().st_size)})")
    tensors = sum(row.tensor for row in report.layers)
    say(out, f"{entries(len(report.layers) - tensors, tensors)} quantized, {len(report.skips)} left in float, {seconds:.1f} s")
    if report.deploy_shapes and "deploy" in report.sizes:
        say_whole(out, _atc_command(report, files), style="cyan")


def print_skips(out: Console, skips: tuple[Skip, ...], title: str = "left in float") -> None:
    """What stays in float, and why: a row a layer; in a terminal, many of one kind with one reason share a row."""
    kinds: dict[tuple[str, str], list[str]] = {}
    for skip in skips:
        kinds.setdefault((skip.op_type, skip.reason), []).append(skip.node)
    rows: list[tuple[str, str, str]] = []
    for (op_type, reason), nodes in kinds.items():
        if out.is_terminal and len(nodes) >= _MANY_ALIKE:
            rows.append((f"{nodes[0]} and others", f"{len(nodes)} {op_type}", escape(reason)))
        else:
            rows += [(node, op_type, escape(reason)) for node in nodes]
    print_table(out, title, ("layer", "op", "reason"), rows)


def print_in_float(out: Console, layers: tuple[Skip, ...]) -> None:
    """Layers with scales that ONNX Runtime computes in float all the same, and why."""
    print_skips(out, layers, "quantized, but computed in float by ONNX Runtime")


def _print_warnings(out: Console, report: Report) -> None:
    for warning in report.warnings:
        say(out, f"[bold yellow]warning:[/] {escape(warning)}")


def _print_layers(out: Console, report: Report) -> None:
    measured = any(row.sqnr_db is not None for row in report.layers)
    narrow = out.width < NARROW
    typed = any(row.types not in {"INT8", "INT8 × INT8"} for row in report.layers)
    tight = out.width < TIGHT
    columns = ["layer", "op", *(["types"] if typed else []), "#scale_d", "#offset_d", *([] if tight else ["weights"])]
    columns += ["#SQNR dB", *([] if narrow else ["#cosine"])] if measured else []
    shown = sharing(report.layers, terminal=out.is_terminal)
    rows = []
    printed = [row for row in report.layers if row.name in shown]
    for row in printed:
        weights = [] if tight else [row.weight.partition(" (")[0] if narrow else row.weight]
        cells = [
            *labels(row, shown[row.name]),
            *([row.types] if typed else []),
            "—" if row.scale_d is None else f"{row.scale_d:.6g}",
            "—" if row.offset_d is None else str(row.offset_d),
            *weights,
        ]
        cells += _measured(row)[: 1 if narrow else 2] if measured else []
        rows.append(cells)
    notes = ["; ".join(row.notes) for row in printed]
    print_annotated(out, f"{report.model}: quantized layers", columns, rows, notes)
    if len(printed) < len(report.layers):
        say(out, f"[dim]{SHARED}[/]")
        out.print()


def _measured(row: LayerRow) -> tuple[str, str]:
    """SQNR, in yellow when poor, and cosine; empty where the layer was not measured."""
    if row.sqnr_db is None or row.cosine is None:
        return "", ""
    text = cell_of_decibels(row.sqnr_db)
    return f"[bold yellow]{text}[/]" if row.sqnr_db < POOR_SQNR_DB else text, f"{row.cosine:.6f}"


def _print_comparison(out: Console, report: Report) -> None:
    for error in report.outputs:
        say(
            out,
            f"fake-quant against {report.reference}, output {escape(error.name)}, "
            f"{count_of(report.compared_samples, 'batch', 'batches')}: "
            + decibels(error.sqnr_db, f"MSE {error.mse:.4g}, cosine {error.cosine:.6f}, SQNR "),
        )
    if report.equivalence:
        e = report.equivalence
        say(
            out,
            f"deploy against fake-quant, executed on {count_of(e.samples, 'batch', 'batches')} ({report.equivalence_data}): "
            f"{entries(e.layers, e.tensors)}, {accumulators(e, report)}, "
            f"{100 * e.code_mismatch:.4f} % of codes rounded otherwise",
        )
    if report.kernels:
        print_kernels(out, report.kernels)
    say(out, "weights: " + ", ".join(f"{name} {size(count)}" for name, count in report.sizes.items()))


def print_kernels(out: Console, kernels: Kernels) -> None:
    """What ONNX Runtime makes of the model written for it."""
    left = f"{kernels.quantize} QuantizeLinear and {kernels.dequantize} DequantizeLinear left"
    noise = "" if kernels.judged else f" of random numbers ({UNJUDGED})"
    executed = (
        f"executes {kernels.integer} of {count_of(kernels.layers, 'layer')} as integer kernels"
        if kernels.layers
        else "has no layer to compute on integers: tables are stored as them"
    )
    say(
        out,
        f"ONNX Runtime {executed} ({left}); "
        f"against fake-quant, {count_of(kernels.samples, 'batch', 'batches')}{noise}: " + decibels(kernels.sqnr_db, "SQNR "),
    )
    if kernels.in_float:
        print_in_float(out, kernels.in_float)


def _atc_command(report: Report, files: tuple[Path, ...]) -> str:
    deploy = next(file for file in files if file.name.endswith("deploy_model.onnx"))
    shapes = ";".join(f"{name}:{','.join(map(str, dims))}" for name, dims in report.deploy_shapes.items())
    stem = str(deploy).removesuffix("_deploy_model.onnx").removesuffix(".onnx")
    return (
        f"atc --framework=5 --model={shlex.quote(str(deploy))} --output={shlex.quote(stem)} "
        f'--input_shape="{shapes}" --soc_version=<your chip, e.g. Ascend310P3>'
    )
