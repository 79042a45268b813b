"""`amct-lite bitops`: what a model costs in operations and bytes. Nothing is run."""

from __future__ import annotations

from pathlib import Path

import click

from amct_lite.cli.beside import Beside, beside_options, tell_written

_FILE = click.Path(path_type=Path)


@click.command("bitops", short_help="Count operations, bit operations, weights and memory.")
@click.argument("model", type=_FILE)
@click.option(
    "--record",
    type=_FILE,
    help="A record of the model: count its layers with its bits, the others as 32 × 32. A QDQ model has its own.",
)
@click.option(
    "--input-shape", metavar="NAME:DIMS;…", help="Sizes of open dimensions of the inputs, e.g. 'x:1,3,224,224;ids:1,128'."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@beside_options("bitops.json")
def command(model: Path, record: Path | None, input_shape: str | None, as_json: bool, output: str | None, page: bool) -> None:
    """Count what MODEL costs, layer by layer and in total: multiply-accumulates, FLOPs, bit operations (FLOPs × bits of
    the activation × bits of the weight), parameters, bytes of weights and activations, and the most memory that activations
    take at once."""
    from amct_lite.config import parse_input_shapes
    from amct_lite.diagnosis.bitops import bitops

    beside = Beside(output, page, record)
    beside.check()
    cost = bitops(model, record, input_shapes=parse_input_shapes(input_shape) if input_shape else None)
    written = beside.write("bitops.json", cost.to_json(), (model, record))
    if as_json:
        from amct_lite.cli.layout import write_text

        write_text(cost.to_json())
    else:
        from amct_lite.cli.bitops_table import print_cost

        print_cost(cost)
        tell_written(written)
