"""`amct-lite calibrate`: the main job from one command."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import click

from amct_lite.cli.deferred import importing
from amct_lite.cli.options import (
    image_options,
    page_options,
    quantization_options,
    report_options,
    resume_options,
    runtime_options,
    sample_options,
    source_options,
    take_checkpoint,
    take_config,
    take_images,
    take_runtime,
    take_workers,
    worker_options,
)
from amct_lite.cli.saving import require_place, save
from amct_lite.errors import ConfigError

if TYPE_CHECKING:
    from amct_lite.config import QuantConfig
    from amct_lite.running import RunOptions
    from amct_lite.tuning import Tuned

_FILE = click.Path(path_type=Path)


@click.command("calibrate", short_help="Quantize a model with sample data; the main job.")
@click.argument("model", type=_FILE)
@source_options
@quantization_options
@sample_options
@click.option(
    "--random", "random", metavar="N", type=click.IntRange(min=1), help="Calibrate with N random batches, to try the flow."
)
@click.option(
    "--tune",
    "tuned",
    is_flag=True,
    help="Target ort: leave layers in float where that is measured to be faster on this machine.",
)
@click.option(
    "--fallback",
    type=float,
    metavar="DB",
    help="Leave layers in float whose own output 8 bits would leave fewer dB above the noise (default: 20; 0: none).",
)
@click.option("--strip-qdq", is_flag=True, help="Take QuantizeLinear and DequantizeLinear out of the model first.")
@report_options
@page_options
@image_options
@resume_options
@worker_options
@runtime_options
def command(
    model: Path,
    data: str | None,
    output: str,
    statistics: Path | None,
    random: int | None,
    batch_size: int | None,
    strip_qdq: bool,
    as_json: bool,
    quiet: bool,
    tuned: bool,
    page: bool,
    **settings: Any,
) -> None:
    """Quantize MODEL: calibrate it on samples, write record, fake-quant and deploy model, run and compare them."""
    _require_one_source(data, statistics, random)
    with importing():
        from amct_lite.cli.output import finish, progress_bar
        from amct_lite.pipeline import quantize
        from amct_lite.running import RunOptions

    started = perf_counter()
    require_place(output, data, page=page)
    files = [Path(name) for name in (data, statistics, settings["config_file"]) if name]
    runtime, images = take_runtime(settings), take_images(settings)
    checkpoint, chosen_workers = take_checkpoint(settings, output), take_workers(settings)
    with chosen_workers as workers:
        config = take_config(settings, model, qdq="strip" if strip_qdq else "refuse")
        with progress_bar(hidden=quiet or as_json) as progress:
            options = RunOptions(runtime, images, batch_size, random, progress, workers, checkpoint, strip_qdq)
            done = _tuned(model, data, config, statistics, options) if tuned else None
            result = done.result if done else quantize(model, data, config, statistics=statistics, options=options)
            texts = {"tuning.json": done.to_json()} if done else {}
            written = save(done or result, result, output, page=page, inputs=files, texts=texts)
    checkpoint.discard()
    if done and not (as_json or quiet):
        from amct_lite.cli.tuning_report import tell_tuning

        tell_tuning(done)
    finish(result, written, perf_counter() - started, runtime, as_json=as_json, quiet=quiet)


def _tuned(model: Path, data: str | None, config: QuantConfig, statistics: Path | None, options: RunOptions) -> Tuned:
    from amct_lite.tuning import tune

    return tune(model, data, config, statistics=statistics, options=options)


def _require_one_source(data: str | None, statistics: Path | None, random: int | None) -> None:
    if random and (data or statistics):
        raise ConfigError("--random goes with neither --data nor --from: give samples, or ask for noise.")
    if not (data or statistics or random):
        raise ConfigError(
            "there is nothing to calibrate with. Pass --data with samples, --from with a saved calibration, "
            "or --random N to try the flow with noise."
        )
