"""`amct-lite compare`: where the error of a quantized model arises, tensor by tensor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from amct_lite.cli.beside import Beside, beside_options, tell_written
from amct_lite.cli.options import data_option, image_options, runtime_options, take_images, take_runtime
from amct_lite.cli.saving import require_place

_FILE = click.Path(path_type=Path)


@click.command("compare", short_help="Follow the error of a quantized model, tensor by tensor.")
@click.argument("exact", type=_FILE, metavar="FLOAT")
@click.argument("other", type=_FILE, metavar="MODEL")
@data_option()
@click.option("--batches", metavar="N", type=click.IntRange(min=1), help="Use so many batches of the data.")
@click.option(
    "--batch-size", metavar="N", type=click.IntRange(min=1), help="Rows of a batch, where one file holds many samples."
)
@click.option("--random", metavar="N", type=click.IntRange(min=1), help="Compare on N random batches instead of data.")
@click.option("--input-shape", metavar="NAME:DIMS;…", help="Shapes of the inputs, e.g. 'x:1,3,224,224;ids:1,128'.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@beside_options("compare.json")
@image_options
@runtime_options
def command(
    exact: Path,
    other: Path,
    data: str | None,
    random: int | None,
    batches: int | None,
    batch_size: int | None,
    input_shape: str | None,
    output: str | None,
    page: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Run the float model FLOAT and MODEL (fake-quant, ort or deploy model, or any other with the same inputs and outputs) on
    samples, and show along the graph how far each tensor is from the float one: accumulated, and by its own step alone."""
    from amct_lite.cli.layout import write_text
    from amct_lite.config import parse_input_shapes
    from amct_lite.diagnosis.compare import compare
    from amct_lite.errors import ConfigError

    if bool(data) == bool(random):
        raise ConfigError("pass --data with samples, or --random N to compare on noise: one of them.")
    if output:
        require_place(output, data)
    beside = Beside(output, page)
    beside.check()
    images, runtime = take_images(settings), take_runtime(settings)
    found = compare(
        *(exact, other, data),
        batches=batches,
        batch_size=batch_size,
        random=random,
        input_shapes=parse_input_shapes(input_shape) if input_shape else None,
        images=images,
        runtime=runtime,
    )
    written = beside.write("compare.json", found.to_json(), (exact, other))
    if as_json:
        write_text(found.to_json())
    else:
        from amct_lite.cli.compare_table import print_comparison

        print_comparison(found)
        tell_written(written)
