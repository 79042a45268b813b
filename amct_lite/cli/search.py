"""`amct-lite search`: the width of each layer, so that the least is lost within a budget."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import Any

import click

from amct_lite.cli import completion
from amct_lite.cli.options import (
    image_options,
    page_options,
    quantization_options,
    report_options,
    runtime_options,
    sample_options,
    source_options,
    take_config,
    take_images,
    take_runtime,
    take_workers,
    worker_options,
)
from amct_lite.cli.saving import require_place, save
from amct_lite.errors import ConfigError

_FILE = click.Path(path_type=Path)


@click.command("search", short_help="Choose the width of each layer under a budget (mixed precision).")
@click.argument("model", type=_FILE)
@source_options
@click.option(
    "--budget",
    metavar="WHAT=X",
    required=True,
    help="bitops=0.25 (a share of the float16 model's) or bitops=1.5G; bytes=0.25 (of the float32 weights) or bytes=900k; "
    "max-loss=X (what the metric of --evaluator may lose; without it error over signal at the outputs: 0.01 is 20 dB).",
)
@click.option(
    "--widths",
    metavar="W,W,…",
    shell_complete=completion.list_of(completion.width_names),
    default="W8A16,W8A8,W4A8,W4A4",
    show_default=True,
    help="What layers choose from: weights of 4, 6, 7 or 8 bits, activations of 4, 8 or 16; and the floats of the target, or "
    "those named here (float16, float32).",
)
@click.option(
    "--only",
    "limits",
    multiple=True,
    metavar="LAYER=W,W,…",
    shell_complete=completion.limits,
    help="The only widths of a layer or pattern, e.g. 'conv1=W8A8,float'; may be repeated.",
)
@click.option(
    "--sensitivity",
    metavar="auto|exact|estimate|local|FILE",
    shell_complete=completion.one_of(completion.measures, or_file=True),
    default="auto",
    show_default=True,
    help="Losses: each layer quantized alone, its error at the outputs measured or estimated (auto: up to 40 layers measured); "
    "local: at its own output; or a file that has them.",
)
@click.option("--evaluator", "evaluator_file", type=_FILE, help="A Python file with evaluate(model_path) -> float.")
@click.option("--lower-is-better", is_flag=True, help="The metric is an error.")
@click.option(
    "--rounding",
    metavar="NAME|none",
    shell_complete=completion.one_of(completion.roundings),
    default="gptq",
    show_default=True,
    help="Weight method where there are fewer than 8 bits; none: as for the others.",
)
@quantization_options
@sample_options
@report_options
@page_options
@image_options
@worker_options
@runtime_options
def command(
    model: Path,
    data: str | None,
    output: str,
    budget: str,
    widths: str,
    limits: tuple[str, ...],
    sensitivity: str,
    evaluator_file: Path | None,
    lower_is_better: bool,
    rounding: str,
    statistics: Path | None,
    batch_size: int | None,
    as_json: bool,
    quiet: bool,
    page: bool,
    **settings: Any,
) -> None:
    """Choose float, 16, 8 or 4 bits for each layer of MODEL: the exact optimum under --budget, exported, verified and compared
    with its neighbours and with the same widths everywhere."""
    if not data:
        raise ConfigError("there are no samples to calibrate with and to measure losses on. Pass --data.")
    from amct_lite.cli.journals import kept_on_interrupt, telling
    from amct_lite.cli.output import progress_bar
    from amct_lite.cli.search_report import finish_search, tell_measured
    from amct_lite.compat.evaluator import amct_names, load_metric
    from amct_lite.files import output_path
    from amct_lite.precision.budget import Budget
    from amct_lite.public import search_precision
    from amct_lite.running import RunOptions

    started = perf_counter()
    allowed = Budget.parse(budget)
    allowed.require_solver()
    require_place(output, data, page=page)
    losses = Path(sensitivity) if Path(sensitivity).is_file() else None
    named = (data, statistics, settings["config_file"], evaluator_file, losses)
    files = [Path(name) for name in named if name]
    runtime, images, shared = take_runtime(settings), take_images(settings), take_workers(settings)
    config = take_config(settings, model)
    journal = output_path(output, "search_journal.jsonl")
    with progress_bar(hidden=quiet or as_json) as progress, shared as workers, amct_names(), kept_on_interrupt(journal):
        found = search_precision(
            *(model, data, allowed),
            widths=_words(widths),
            limits=dict(_limit(text) for text in limits),
            evaluate=load_metric(evaluator_file) if evaluator_file else None,
            lower_is_better=lower_is_better,
            config=config,
            sensitivity=losses or sensitivity,
            rounding=None if rounding == "none" else rounding,
            statistics=statistics,
            journal=journal,
            tell=telling(quiet=quiet or as_json),
            options=RunOptions(runtime, images, batch_size, None, progress, workers),
            on_measured=tell_measured(quiet=quiet or as_json),
        )
        written = save(found, found.result, output, page=page, inputs=files, texts={"search.json": found.to_json()})
    finish_search(found, written, perf_counter() - started, runtime, as_json=as_json, quiet=quiet)


def _words(text: str) -> tuple[str, ...]:
    return tuple(filter(None, (word.strip() for word in text.split(","))))


def _limit(text: str) -> tuple[str, tuple[str, ...]]:
    layer, equals, widths = text.rpartition("=")
    if not (layer and equals and _words(widths)):
        raise ConfigError(f"--only {text!r} is not LAYER=WIDTHS. Write for example 'conv1=W8A8,float'.")
    return layer, _words(widths)
