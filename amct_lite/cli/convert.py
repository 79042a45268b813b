"""`amct-lite convert`: the models of a record that was edited, or computed elsewhere."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import Any

import click

from amct_lite.cli.options import image_options, runtime_options, take_images, take_runtime

_FILE = click.Path(path_type=Path)


@click.command("convert", short_help="Export again from a record, edited or made elsewhere.")
@click.argument("model", type=_FILE)
@click.option("--record", required=True, type=_FILE, help="The record file.")
@click.option(
    "-o", "--output", metavar="PREFIX", required=True, help="Prefix of what is written, e.g. out/again; 'out/' for no prefix."
)
@click.option("--calibration", type=_FILE, help="Calibration file for biases and static shapes (default: beside the record).")
@click.option("--data", metavar="PATH", help="Samples to compare the result with the float model on.")
@click.option("--batches", metavar="N", type=click.IntRange(min=1), help="Use so many batches of the data.")
@click.option("--input-shape", metavar="NAME:DIMS;…", help="Static shapes of the inputs, e.g. 'x:1,3,224,224;ids:1,128'.")
@click.option(
    "--target",
    type=click.Choice(["ascend", "ort", "generic"]),
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
@image_options
@runtime_options
def command(
    model: Path,
    record: Path,
    output: str,
    calibration: Path | None,
    data: str | None,
    as_json: bool,
    quiet: bool,
    **settings: Any,
) -> None:
    """Export MODEL again from a record: fake-quant and deploy model, run and compared."""
    from amct_lite.cli.output import finish, progress_bar
    from amct_lite.config import QuantConfig, parse_input_shapes
    from amct_lite.pipeline import RunOptions, convert

    started = perf_counter()
    runtime, images = take_runtime(settings), take_images(settings)
    config = QuantConfig(
        target=settings["target"],
        batches=settings["batches"],
        balance_fold=settings["balance_fold"],
        input_shapes=parse_input_shapes(settings["input_shape"]) if settings["input_shape"] else {},
    )
    with progress_bar(hidden=quiet or as_json) as progress:
        options = RunOptions(runtime, images, progress=progress)
        result = convert(
            model,
            record,
            config=config,
            bias_correction=settings["bias_correction"],
            statistics=calibration,
            data=data,
            options=options,
        )
        written = result.save(output, inputs=[file for file in (record, calibration) if file is not None])
    finish(result, written, perf_counter() - started, as_json=as_json, quiet=quiet)
