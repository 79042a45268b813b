"""`amct-lite sensitivity`: what quantizing each layer alone costs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from amct_lite.cli import completion
from amct_lite.cli.beside import Beside, beside_options, tell_written
from amct_lite.cli.options import (
    data_option,
    image_options,
    runtime_options,
    take_images,
    take_runtime,
    take_workers,
    worker_options,
)

if TYPE_CHECKING:
    from amct_lite.analysis.figures import MetricFunction

_FILE = click.Path(path_type=Path)


@click.command("sensitivity", short_help="Rank the layers by what quantizing each alone does.")
@click.argument("model", type=_FILE)
@click.option("--record", required=True, type=_FILE, help="The record file with the scales.")
@data_option(required=True)
@click.option(
    "--candidates",
    metavar="NAME,…",
    shell_complete=completion.list_of(completion.candidates),
    default="W8A8",
    show_default=True,
    help="How to quantize: W8A8, W4A8, W8A16, W8 (weights alone), A8 (activations alone), FP16; or all of them.",
)
@click.option(
    "--exact/--estimate",
    "exact",
    default=None,
    help="Measure each layer on all samples, or on a few (default: exact up to 40 layers times candidates).",
)
@click.option(
    "--metric",
    default="nmse",
    show_default=True,
    metavar="NAME|FILE.py",
    shell_complete=completion.one_of(completion.damages, or_file=True),
    help="What to rank by, at the outputs: nmse, mse, cosine, kl, sqnr; or a file with metric(exact, other) -> float.",
)
@click.option(
    "--layer",
    "--layers",
    "layers",
    multiple=True,
    metavar="NAME|GLOB",
    shell_complete=completion.one_of(completion.entries),
    help="Only these layers; may be repeated.",
)
@click.option("--limit", metavar="N", type=click.IntRange(min=1), help="Print the N most sensitive only.")
@click.option("--from", "statistics", type=_FILE, help="Calibration file for other widths (default: beside the record).")
@click.option("--config", "config_file", type=_FILE, help="Configuration whose range method decides other widths.")
@click.option("--batches", metavar="N", type=click.IntRange(min=1), help="Use so many batches of the data (default: up to 64).")
@click.option(
    "--batch-size", metavar="N", type=click.IntRange(min=1), help="Rows of a batch, where one file holds many samples."
)
@beside_options("sensitivity.json; an interrupted run then goes on where it was")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("-q", "--quiet", is_flag=True, help="No progress, no table.")
@image_options
@worker_options
@runtime_options
def command(
    model: Path,
    record: Path,
    data: str,
    candidates: str,
    exact: bool | None,
    metric: str,
    layers: tuple[str, ...],
    limit: int | None,
    statistics: Path | None,
    config_file: Path | None,
    output: str | None,
    page: bool,
    as_json: bool,
    quiet: bool,
    **settings: Any,
) -> None:
    """Measure for each layer of RECORD what quantizing it alone does to the output of the layer and to those of MODEL."""
    from dataclasses import replace

    from amct_lite.analysis.candidates import CUSTOMARY
    from amct_lite.cli.journals import kept_on_interrupt
    from amct_lite.cli.layout import write_text
    from amct_lite.cli.output import progress_bar
    from amct_lite.cli.sensitivity_table import print_sensitivities
    from amct_lite.config import QuantConfig
    from amct_lite.diagnosis.sensitivity import sensitivity
    from amct_lite.files import output_path
    from amct_lite.public import load_config
    from amct_lite.running import RunOptions

    beside = Beside(output, page, record)
    beside.check()
    config = load_config(config_file, model) if config_file else QuantConfig(target="generic")
    config = replace(config, batches=settings["batches"] or config.batches)
    runtime, images, shared = take_runtime(settings), take_images(settings), take_workers(settings)
    journal = output_path(output, "sensitivity_journal.jsonl") if output else None
    with progress_bar(hidden=quiet or as_json) as progress, shared as workers, kept_on_interrupt(journal):
        found = sensitivity(
            *(model, record, data),
            candidates=CUSTOMARY if candidates == "all" else [name.strip() for name in candidates.split(",") if name.strip()],
            layers=layers,
            method="auto" if exact is None else "exact" if exact else "estimate",
            metric=_metric(metric),
            config=config,
            statistics=statistics,
            journal=journal,
            tell=lambda text: click.echo(f"note: {text}", err=True),
            options=RunOptions(runtime, images, settings["batch_size"], None, progress, workers),
        )
    written = beside.write("sensitivity.json", found.to_json(), (model, record, statistics, config_file))
    if as_json:
        write_text(found.to_json())
    elif not quiet:
        print_sensitivities(found, model.name, limit=limit)
    if not as_json:
        tell_written(written, err=quiet)


def _metric(text: str) -> str | MetricFunction:
    """A name, or the function of a file."""
    from amct_lite.diagnosis.metric_file import load_metric_file

    return load_metric_file(Path(text)) if text.endswith(".py") else text
