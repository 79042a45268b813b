"""`amct-lite convert`: the models of scales that exist: of a record, or of a model with QuantizeLinear and DequantizeLinear."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import Any

import click

from amct_lite.cli import completion
from amct_lite.cli.options import (
    TARGETS,
    image_options,
    page_options,
    runtime_options,
    take_images,
    take_runtime,
)
from amct_lite.cli.saving import require_place, save
from amct_lite.errors import ConfigError

_FILE = click.Path(path_type=Path)


@click.command("convert", short_help="Export from a record, or from a trained (QDQ) model with its scales.")
@click.argument("model", type=_FILE)
@click.option("--record", type=_FILE, help="The record file; without one, MODEL is a QDQ model and brings its scales.")
@click.option(
    "-o",
    "--output",
    metavar="PREFIX",
    required=True,
    shell_complete=completion.paths,
    help="Prefix of what is written, e.g. out/again; 'out/' for no prefix.",
)
@click.option("--calibration", type=_FILE, help="Calibration file for biases and static shapes (default: beside the record).")
@click.option("--data", metavar="PATH", shell_complete=completion.paths, help="Samples to compare the result with MODEL on.")
@click.option("--batches", metavar="N", type=click.IntRange(min=1), help="Use so many batches of the data.")
@click.option("--input-shape", metavar="NAME:DIMS;…", help="Static shapes of the inputs, e.g. 'x:1,3,224,224;ids:1,128'.")
@click.option(
    "--target",
    type=click.Choice(TARGETS),
    default="ascend",
    show_default=True,
    help="What runs the result.",
)
@click.option(
    "--bias-correction", type=click.Choice(["none", "analytic", "full"]), help="Default: as the calibration file says."
)
@click.option("--balance-fold", is_flag=True, help="Balance without a Mul where the layer in front can take the factors.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Print warnings and errors only.")
@page_options
@image_options
@runtime_options
def command(
    model: Path,
    record: Path | None,
    output: str,
    calibration: Path | None,
    data: str | None,
    as_json: bool,
    quiet: bool,
    page: bool,
    **settings: Any,
) -> None:
    """Export MODEL with given scales, its own or those of a record: fake-quant and deploy model, run and compared."""
    _require_record(record, calibration, settings["bias_correction"])
    from amct_lite.cli.output import finish, progress_bar
    from amct_lite.config import QuantConfig, parse_input_shapes
    from amct_lite.converting import convert, convert_qdq
    from amct_lite.running import RunOptions

    started = perf_counter()
    require_place(output, data, page=page)
    runtime, images = take_runtime(settings), take_images(settings)
    config = QuantConfig(
        target=settings["target"],
        batches=settings["batches"],
        balance_fold=settings["balance_fold"],
        input_shapes=parse_input_shapes(settings["input_shape"]) if settings["input_shape"] else {},
    )
    with progress_bar(hidden=quiet or as_json) as progress:
        options = RunOptions(runtime, images, progress=progress)
        if record is None:
            result = convert_qdq(model, config=config, data=data, options=options)
        else:
            correction = settings["bias_correction"]
            result = convert(
                *(model, record),
                config=config,
                bias_correction=correction,
                statistics=calibration,
                data=data,
                options=options,
            )
        written = save(result, result, output, page=page, inputs=(record, calibration))
    finish(result, written, perf_counter() - started, runtime, as_json=as_json, quiet=quiet)


def _require_record(record: Path | None, calibration: Path | None, bias_correction: str | None) -> None:
    if record is None and (calibration or bias_correction not in {None, "none"}):
        option = "--calibration" if calibration else "--bias-correction"
        raise ConfigError(
            f"{option} goes with --record only: a trained model brings scales and biases of its own. Leave it out."
        )
