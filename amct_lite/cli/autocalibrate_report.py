"""How a search looks in a terminal: a line for each model that was evaluated, then the run's report and the whole search."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import count
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape

from amct_lite.accuracy.auto import AutoCalibration
from amct_lite.accuracy.candidates import Trial
from amct_lite.cli.layout import console, count_of, metric_text, print_table, say, write_text
from amct_lite.cli.output import finish
from amct_lite.running import Progress
from amct_lite.runtime import RuntimeOptions


def tell_trials(progress: Progress, *, quiet: bool) -> Callable[[Trial], None]:
    """A line on standard error for each model, as soon as its metric is known."""
    numbers = count(1)

    def tell(trial: Trial) -> None:
        progress("evaluate", 1, None)
        if not quiet:
            verdict = "" if trial.in_float is None else f", loss {trial.loss:.6g}: {_verdict(trial)}"
            source = " (from the journal)" if trial.resumed else ""
            click.echo(f"{next(numbers):>3}. {_what(trial)}: metric {metric_text(trial.metric)}{verdict}{source}", err=True)

    return tell


def finish_search(
    found: AutoCalibration, files: tuple[Path, ...], seconds: float, runtime: RuntimeOptions, *, as_json: bool, quiet: bool
) -> None:
    """Print what a search gives, then what every run gives."""
    if as_json:
        content = {"autocalibration": json.loads(found.to_json()), "report": json.loads(found.result.report.to_json())}
        write_text(json.dumps(content, indent=2))
    elif not quiet:
        _print_search(console(), found)
    if not found.minimal:
        text = (
            f"{count_of(found.evaluations, 'evaluation')} were not enough to try each layer: fewer layers in float may do. "
            "Allow more with --max-evaluations."
        )
        say(console(stderr=quiet or as_json), f"[bold yellow]warning:[/] {escape(text)}")
    finish(found.result, files, seconds, runtime, as_json=False, quiet=quiet or as_json)


def _print_search(out: Console, found: AutoCalibration) -> None:
    rows = [
        (_what(trial), metric_text(trial.metric), "" if trial.in_float is None else f"{trial.loss:.6g}", _verdict(trial))
        for trial in found.history
    ]
    print_table(out, "evaluated", ("model", "#metric", "#loss", "verdict"), rows)
    scores = dict(found.ranking)
    if found.in_float:
        layers = [(name, f"{scores[name]:.6g}") for name in found.in_float]
        print_table(out, "back in float, the most sensitive first", ("layer", "#score"), layers)
    say(
        out,
        f"{count_of(found.evaluations, 'evaluation')}, {count_of(found.exports, 'candidate')} exported, "
        f"{count_of(found.passes, 'pass', 'passes')} over the data; "
        f"{len(found.in_float)} of {count_of(len(found.ranking), 'layer')} back in float",
    )


def _what(trial: Trial) -> str:
    if trial.in_float is None:
        return "float model"
    return f"{count_of(len(trial.in_float), 'layer')} in float" if trial.in_float else "all layers quantized"


def _verdict(trial: Trial) -> str:
    return "acceptable" if trial.acceptable else "not acceptable"
