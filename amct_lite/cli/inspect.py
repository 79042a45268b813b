"""`amct-lite inspect`: what would be quantized, what not and why. Nothing is run or written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from amct_lite.cli.options import quantization_options, take_config


@click.command("inspect", short_help="Show what would be quantized, what not and why.")
@click.argument("model", type=click.Path(path_type=Path))
@quantization_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(model: Path, as_json: bool, **settings: Any) -> None:
    """Show what would be quantized in MODEL, what not and why; inputs, outputs, opset and size. Nothing is run."""
    from amct_lite.inspection import inspect

    config = take_config(settings, model)
    found = inspect(model, config)
    if as_json:
        from amct_lite.cli.layout import write_text

        write_text(found.to_json())
    else:
        from amct_lite.cli.inspect_table import print_inspection

        print_inspection(found)
