"""`amct-lite record`: look at a record file, check it against a model, change numbers in it, compare two of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from amct_lite.cli import completion
from amct_lite.cli.options import TARGETS, no_model

if TYPE_CHECKING:
    from collections.abc import Mapping

    from amct_lite.record import LayerFacts
    from amct_lite.types import QuantRecord

_FILE = click.Path(path_type=Path)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_COLOURS = {"-": "red", "+": "green", "~": "yellow"}


@click.group("record")
def command() -> None:
    """Show, check, edit and compare record files."""


@command.command("show", short_help="Show scales, offsets, and what looks odd.")
@click.argument("record", type=_FILE)
@click.option(
    "--layer", "pattern", metavar="NAME|GLOB", shell_complete=completion.one_of(completion.entries), help="Only these layers."
)
@click.option(
    "--sort",
    type=click.Choice(["scale_d", "offset_d", "range", "scale_w", "ratio", "channels"]),
    help="Largest first: width of the range, largest weight scale, ratio of weight scales, number of them.",
)
@click.option("--model", type=_FILE, help="The float model: tells what share of the calibration's values each range clips.")
@_JSON
def show(record: Path, pattern: str | None, sort: str | None, model: Path | None, as_json: bool) -> None:
    """Show the layers of RECORD: scales and offsets, the real range each activation has, and what looks odd."""
    from amct_lite.cli import record_table
    from amct_lite.cli.layout import write_text
    from amct_lite.record import read_record
    from amct_lite.registry import matching

    whole = read_record(record)
    keys = matching(pattern or "*", [layer.key for layer in whole.layers], where=str(record))
    shown = record_table.findings(whole, keys, clipped=_clipped(whole, record, model), sort=sort)
    if as_json:
        write_text(json.dumps(record_table.as_mapping(shown), indent=1, ensure_ascii=False))
    else:
        record_table.print_record(shown)


def _clipped(record: QuantRecord, file: Path, model: Path | None) -> Mapping[str, float]:
    if model is None:
        return {}
    from amct_lite.calibration import store
    from amct_lite.diagnosis.saturation import saturated_shares
    from amct_lite.errors import CalibrationError

    calibration = store.beside(file)
    if calibration is None:
        raise CalibrationError(
            f"no calibration file lies beside {file}, so what its ranges clip is not known. Leave out --model."
        )
    return saturated_shares(record, calibration, model)


@command.command("check", short_help="Check a record against a model.")
@click.argument("record", type=_FILE, callback=no_model)
@click.argument("model", type=_FILE)
@click.option(
    "--target",
    type=click.Choice(TARGETS),
    default="ascend",
    show_default=True,
    help="What is to run the result.",
)
@_JSON
def check(record: Path, model: Path, target: str, as_json: bool) -> None:
    """Check RECORD against MODEL: all problems with their lines (exit code 7), or ok."""
    from amct_lite.cli.layout import write_text
    from amct_lite.config import QuantConfig
    from amct_lite.errors import RecordError
    from amct_lite.record import check_record, read_record, require_valid
    from amct_lite.recorded import model_facts

    found = read_record(record)
    facts = model_facts(found, model, QuantConfig(target=target))
    rest = _quantizable_without_entry(found, facts, target)
    if as_json:
        problems = check_record(found, facts)
        tensors = sum(entry.tensor_quantize for entry in found.layers)
        counts = {"layers": len(found.layers) - tensors, "tensors": tensors}
        report = {"ok": not problems, **counts, "left_in_float": rest, "problems": problems}
        write_text(json.dumps(report, indent=1, ensure_ascii=False))
        if problems:
            click.get_current_context().exit(RecordError.exit_code)
        return
    require_valid(found, facts)
    from amct_lite.cli.layout import count_of, entries

    verb = "fits" if len(found.layers) == 1 else "fit"
    tensors = sum(entry.tensor_quantize for entry in found.layers)
    left = f"{count_of(len(rest), 'more layer')} could be quantized" if rest else "no other layer could be quantized"
    click.echo(f"ok: {entries(len(found.layers) - tensors, tensors)} of {record} {verb} {model}; {left}.")


@command.command("edit", short_help="Change numbers of some layers.")
@click.argument("record", type=_FILE)
@click.option(
    "--layer",
    "pattern",
    metavar="NAME|GLOB",
    shell_complete=completion.one_of(completion.entries),
    required=True,
    help="The layers to change.",
)
@click.option("--scale-d", type=float, metavar="X", help="New scale_d: one step of the input.")
@click.option("--offset-d", type=int, metavar="N", help="New offset_d: the integer that stands for 0.0.")
@click.option("--scale-w-factor", type=float, metavar="X", help="Multiply every scale_w by this, of an LSTM scale_r, too.")
@click.option("-o", "--output", type=_FILE, help="Write to this file (default: print the record).")
@click.option("--in-place", is_flag=True, help="Write to RECORD itself.")
def edit(record: Path, pattern: str, output: Path | None, in_place: bool, **numbers: Any) -> None:
    """Change numbers of some layers of RECORD; all others stay, in their order. What has changed is told on standard error."""
    from amct_lite.cli.layout import write_text
    from amct_lite.errors import ConfigError
    from amct_lite.files import staged_outputs
    from amct_lite.record import format_record, read_record
    from amct_lite.record.diff import diff_records
    from amct_lite.record.edit import Edit, edit_record, tables_left_out
    from amct_lite.registry import matching

    if all(number is None for number in numbers.values()):
        raise ConfigError("there is nothing to change: pass --scale-d, --offset-d or --scale-w-factor.")
    if in_place and output is not None:
        raise ConfigError("--in-place goes without -o: write to the record itself, or to another file.")
    if output is not None and output.exists() and output.samefile(record):
        raise ConfigError(f"-o {output} is the record itself: pass --in-place to change it, or name another file.")
    old = read_record(record)
    keys, wanted = matching(pattern, [layer.key for layer in old.layers], where=str(record)), Edit(**numbers)
    new = edit_record(old, keys, wanted)
    target = record if in_place else output
    if target is None:
        write_text(format_record(new))
    else:
        with staged_outputs(inputs=[] if in_place else [record]) as outputs:
            outputs.stage(target).write_text(format_record(new), encoding="utf-8")
    for line in diff_records(old, new).lines():
        click.secho(line, fg=_COLOURS.get(line[0]), err=True)
    if tables := tables_left_out(old, keys, wanted):
        click.echo(
            f"note: scale_d and offset_d of {', '.join(tables)} stay: tables that rows are picked of have no data.", err=True
        )


@command.command("diff", short_help="Compare two records.")
@click.argument("a", type=_FILE)
@click.argument("b", type=_FILE)
@_JSON
@click.pass_context
def diff(ctx: click.Context, a: Path, b: Path, as_json: bool) -> None:
    """Compare two records. Exit code 0 when they say the same, 1 when they differ."""
    from amct_lite.record import read_record
    from amct_lite.record.diff import diff_records

    found = diff_records(read_record(a), read_record(b))
    if as_json:
        click.echo(json.dumps(found.to_json(), indent=1, ensure_ascii=False))
    else:
        for line in found.lines():
            click.secho(line, fg=_COLOURS.get(line[0]))
    ctx.exit(0 if found.identical else 1)


def _quantizable_without_entry(record: QuantRecord, facts: Mapping[str, LayerFacts], target: str) -> list[str]:
    from amct_lite.flow.kernels import KERNELS

    no_layers = KERNELS.keys() if target == "ort" else ()  # their inputs are quantized there
    open_ones = [name for name, fact in facts.items() if fact.quantizable and name not in record.by_key]
    return [name for name in open_ones if facts[name].op_type not in no_layers]
