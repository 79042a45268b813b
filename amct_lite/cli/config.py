"""`amct-lite config`: write a configuration for a model, check one, turn one format into another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from amct_lite.cli.options import no_model, quantization_options, take_config, target_option

if TYPE_CHECKING:
    from amct_lite.config import QuantConfig
    from amct_lite.types import QuantPlan

_FILE = click.Path(path_type=Path)
_OUTPUT = click.option("-o", "--output", required=True, type=_FILE, help="The file: .json, .cfg (AMCT's), .yaml or .toml.")
_FORMAT = click.option(
    "--format",
    "kind",
    type=click.Choice(["amct", "cfg", "yaml", "toml", "json"]),
    help="amct: AMCT's JSON (what .json is by default); json: the tables of .yaml as JSON.",
)


@click.group("config", short_help="Write, check or convert a configuration file.")
def command() -> None:
    """Write a configuration for a model, check one, convert between AMCT's formats, YAML and TOML."""


@command.command("create", short_help="Write a configuration for a model.")
@click.argument("model", type=_FILE)
@_OUTPUT
@_FORMAT
@quantization_options
@click.option("--batches", metavar="N", type=click.IntRange(min=1), help="Batches to calibrate on (batch_num).")
def create(model: Path, output: Path, kind: str | None, **settings: Any) -> None:
    """Write a configuration for MODEL with these options; AMCT's JSON lists every layer that can be quantized."""
    from amct_lite.compat.configs import format_of
    from amct_lite.loading import load_prepared
    from amct_lite.plan import resolve

    kind = kind or format_of(output)
    inputs = [file for file in (model, settings["config_file"]) if file]
    config = take_config(settings, model)
    source = load_prepared(model, config.folding)
    plan = resolve(config, source.prepared, source.gone)
    _write(output, config, plan, kind, inputs)


@command.command("check", short_help="Check a configuration against a model.")
@click.argument("file", type=_FILE, callback=no_model)
@click.argument("model", type=_FILE)
@target_option
def check(file: Path, model: Path, target: str | None) -> None:
    """Check the configuration FILE, of any format, against MODEL and the target, which is the file's own unless --target names
    another: all problems with their lines (exit code 3), or ok."""
    from amct_lite.compat.configs import load_configured
    from amct_lite.plan import resolve

    config, source = load_configured(file, model, target=target)
    plan = resolve(config, source.prepared, source.gone)
    click.echo(f"ok: {file} fits {model}; for the target {plan.target} {_counted(plan)}.")


@command.command("convert", short_help="Write a configuration in another format.")
@click.argument("file", type=_FILE, callback=no_model)
@click.argument("model", type=_FILE, required=False)
@_OUTPUT
@_FORMAT
def convert(file: Path, model: Path | None, output: Path, kind: str | None) -> None:
    """Write the configuration FILE in another format. AMCT's formats list layers, so they need MODEL, too."""
    from amct_lite.compat.configs import format_of, load_any_config, load_configured
    from amct_lite.plan import resolve

    kind = kind or format_of(output)
    if model is None:
        config, plan = load_any_config(file), None
    else:
        config, source = load_configured(file, model)
        plan = resolve(config, source.prepared, source.gone)
    _write(output, config, plan, kind, [source for source in (file, model) if source])


def _write(output: Path, config: QuantConfig, plan: QuantPlan | None, kind: str, inputs: list[Path]) -> None:
    from amct_lite.compat.configs import AMCT_FORMATS, write_config
    from amct_lite.compat.planned import left_out

    write_config(output, config, plan, kind, inputs=inputs)
    for sentence in left_out(config) if kind in AMCT_FORMATS else config.without_effect:
        click.echo(f"note: {sentence}", err=True)
    click.echo(f"{output} written{f'; {_counted(plan)}' if plan else ''}.")


def _counted(plan: QuantPlan) -> str:
    from amct_lite.cli.layout import entries

    count = len(plan.skips)
    left = f"{count or 'none'} {'stay' if count > 1 else 'stays'} in float"
    return f"{entries(len(plan.layers), len(plan.reads))} to quantize, {left}"
