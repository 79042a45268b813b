"""How a search for mixed precision looks in a terminal: what is measured as it goes, the choice, what it is compared with."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import count
from math import inf
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape

from amct_lite.cli.layout import console, count_of, metric_text, print_table, say, size, write_text
from amct_lite.cli.output import finish
from amct_lite.precision.measured import Measured
from amct_lite.precision.outcome import Found
from amct_lite.runtime import RuntimeOptions


def tell_measured(*, quiet: bool) -> Callable[[str, Measured], None]:
    """A line on standard error for each model that was exported and run."""
    numbers = count(1)

    def tell(name: str, found: Measured) -> None:
        if not quiet:
            metric = "" if found.metric is None else f", metric {metric_text(found.metric)}"
            source = " (from the journal)" if found.resumed else ""
            click.echo(f"{next(numbers):>3}. {name} ({_widths(found)}): {_sqnr(found, ' dB')}{metric}{source}", err=True)

    return tell


def finish_search(
    found: Found, files: tuple[Path, ...], seconds: float, runtime: RuntimeOptions, *, as_json: bool, quiet: bool
) -> None:
    """Print what a search gives, then what every run gives."""
    if as_json:
        times = {strategy.name: strategy.latency_ms for strategy in found.strategies}
        search = {**json.loads(found.to_json()), "latency_ms": times}
        content = {"search": search, "report": json.loads(found.result.report.to_json())}
        write_text(json.dumps(content, indent=2))
    elif not quiet:
        _print_search(console(), found)
    finish(found.result, files, seconds, runtime, as_json=False, quiet=quiet or as_json)


def _print_search(out: Console, found: Found) -> None:
    _print_widths(out, found)
    _print_front(out, found)
    _print_strategies(out, found)
    for note in found.notes:
        say(out, f"[dim]note:[/] {escape(note)}")
    for names in found.together:
        say(out, f"[dim]note:[/] {escape(', '.join(names))} read the same data or weight and got the same widths")
    if wide := found.kept_wide:
        listed = escape(", ".join(wide))
        say(out, f"[dim]note:[/] {listed} in float32: give ATC --keep_dtype=…_keep_dtype.cfg, else it computes in float16")
    spent = found.chosen.bitops if found.prices.what == "bitops" else found.chosen.weight_bytes
    say(
        out,
        f"{found.budget}: {_widths(found.chosen)}; {found.prices.what} {spent / found.prices.whole:.4g} of the "
        f"{'float16' if found.prices.what == 'bitops' else 'float32'} model's, SQNR {_sqnr(found.chosen)} dB",
    )


def _print_widths(out: Console, found: Found) -> None:
    rows = []
    for layer, widths in found.chosen.picks.items():
        others = {name: row[layer] for name, row in found.losses.items() if layer in row}
        told = ", ".join(f"{name} {loss:.2g}" for name, loss in others.items())
        rows.append((layer, widths, f"{others.get(widths, 0.0):.3g}", told))
    print_table(out, "chosen widths", ("layer", "widths", "#loss alone", "loss alone with each"), rows)


def _print_front(out: Console, found: Found) -> None:
    """The chosen point among its neighbours: what was estimated, and what was measured."""
    named = [("next cheaper", found.cheaper), ("chosen", found.chosen), ("next dearer", found.dearer)]
    rows = [
        (
            name,
            f"{_cost(point, found) / found.prices.whole:.4g}",
            f"{point.estimate:.3g}",
            f"{point.loss:.3g}",
            _sqnr(point),
            *_metric(point),
        )
        for name, point in named
        if point is not None
    ]
    title = f"the front has {count_of(len(found.front), 'point')}; next to the chosen one"
    columns = ("point", f"#{found.prices.what}", "#estimated loss", "#measured loss", "#SQNR dB", *_metric_column(found))
    print_table(out, title, columns, rows)


def _print_strategies(out: Console, found: Found) -> None:
    rows = [
        (
            strategy.name,
            _widths(strategy.measured),
            f"{strategy.measured.bitops / 1e9:.4g} G",
            size(strategy.measured.weight_bytes),
            size(strategy.measured.peak_activation_bytes),
            _sqnr(strategy.measured),
            *_metric(strategy.measured),
            "—" if strategy.latency_ms is None else f"{strategy.latency_ms:.2f}",
        )
        for strategy in found.strategies
    ]
    columns = ("strategy", "layers", "#bitops", "#weights", "#peak memory", "#SQNR dB", *_metric_column(found), "#CPU ms")
    print_table(out, "strategies side by side", columns, rows)
    if any(strategy.latency_ms is None for strategy in found.strategies):
        say(
            out, "[dim]CPU ms: — where ONNX Runtime's CPU has no kernels for the widths; 4 and 16 bits are not faster there.[/]"
        )


def _cost(point: Measured, found: Found) -> int:
    return point.bitops if found.prices.what == "bitops" else point.weight_bytes


def _metric_column(found: Found) -> tuple[str, ...]:
    return () if found.chosen.metric is None else ("#metric",)


def _metric(point: Measured) -> tuple[str, ...]:
    return () if point.metric is None else (metric_text(point.metric),)


def _widths(point: Measured) -> str:
    return ", ".join(f"{number} {name}" for name, number in sorted(point.counts.items()))


def _sqnr(point: Measured, unit: str = "") -> str:
    return "exact" if point.sqnr_db == inf else f"{point.sqnr_db:.1f}{unit}"
