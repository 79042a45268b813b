"""`amct-lite autocalibrate`: quantize as much as the user's own metric allows."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from amct_lite.accuracy.evaluation import Evaluator

_FILE = click.Path(path_type=Path)


@click.command("autocalibrate", short_help="Quantize as many layers as your own metric allows.")
@click.argument("model", type=_FILE)
@source_options
@click.option(
    "--evaluator",
    "evaluator_file",
    type=_FILE,
    required=True,
    help="A Python file with evaluate(model_path) -> float, or an AMCT evaluator class.",
)
@click.option("--max-loss", metavar="X", type=click.FloatRange(min=0), help="What the metric may lose, in its own units.")
@click.option("--lower-is-better", is_flag=True, help="The metric is an error; goes with --max-loss.")
@click.option(
    "--sensitivity",
    metavar="NAME",
    shell_complete=completion.one_of(completion.rankings),
    default="CosineSimilarity",
    show_default=True,
    help="What the layers are ranked by: CosineSimilarity, MseSimilarity or SQNR.",
)
@click.option("--max-evaluations", metavar="N", type=click.IntRange(min=2), help="Measure the metric so often at most (50).")
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
    evaluator_file: Path,
    max_loss: float | None,
    lower_is_better: bool,
    sensitivity: str,
    max_evaluations: int | None,
    statistics: Path | None,
    batch_size: int | None,
    as_json: bool,
    quiet: bool,
    page: bool,
    **settings: Any,
) -> None:
    """Quantize MODEL, and leave as few layers in float as it takes to keep the metric that --evaluator measures."""
    if not data:
        raise ConfigError("there are no samples to calibrate with and to rank the layers on. Pass --data.")
    from amct_lite.accuracy.auto import autocalibrate
    from amct_lite.accuracy.candidates import MAX_EVALUATIONS
    from amct_lite.cli.autocalibrate_report import finish_search, tell_trials
    from amct_lite.cli.journals import kept_on_interrupt, telling
    from amct_lite.cli.output import progress_bar
    from amct_lite.compat.evaluator import amct_names
    from amct_lite.files import output_path
    from amct_lite.running import RunOptions

    started = perf_counter()
    require_place(output, data, page=page)
    files = [Path(name) for name in (data, statistics, settings["config_file"], evaluator_file) if name]
    runtime, images, shared = take_runtime(settings), take_images(settings), take_workers(settings)
    config = take_config(settings, model)
    evaluate = _evaluator(evaluator_file, max_loss, lower_is_better=lower_is_better)
    journal = output_path(output, "autocalibration_journal.jsonl")
    with progress_bar(hidden=quiet or as_json) as progress, shared as workers, amct_names(), kept_on_interrupt(journal):
        found = autocalibrate(
            *(model, data, evaluate),
            config=config,
            sensitivity=sensitivity,
            max_evaluations=max_evaluations or MAX_EVALUATIONS,
            statistics=statistics,
            journal=journal,
            tell=telling(quiet=quiet or as_json),
            options=RunOptions(runtime, images, batch_size, None, progress, workers),
            on_trial=tell_trials(progress, quiet=quiet or as_json),
        )
        written = save(found, found.result, output, page=page, inputs=files, texts={"autocalibration.json": found.to_json()})
    finish_search(found, written, perf_counter() - started, runtime, as_json=as_json, quiet=quiet)


def _evaluator(file: Path, max_loss: float | None, *, lower_is_better: bool) -> Evaluator:
    """With --max-loss the file only measures; without it an evaluator class decides."""
    from amct_lite.accuracy.evaluation import evaluator_of
    from amct_lite.common.auto_calibration import AutoCalibrationEvaluatorBase
    from amct_lite.compat.evaluator import load_metric

    loaded = load_metric(file)
    if isinstance(loaded, AutoCalibrationEvaluatorBase):
        if max_loss is None and not lower_is_better:
            return loaded
        loaded = loaded.evaluate
    if max_loss is None:
        raise ConfigError("--max-loss is missing: how much may the metric lose, in its own units?")
    return evaluator_of(loaded, max_loss, lower_is_better=lower_is_better)
