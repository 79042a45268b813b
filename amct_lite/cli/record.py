"""`amct-lite record`: look at a record file, check it against a model, compare two of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Mapping

    from amct_lite.record import LayerFacts
    from amct_lite.types import QuantRecord

_FILE = click.Path(path_type=Path)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_COLOURS = {"-": "red", "+": "green", "~": "yellow"}


@click.group("record")
def command() -> None:
    """Show a record file, check it against a model, compare two."""


@command.command("show")
@click.argument("record", type=_FILE)
@click.option("--layer", "pattern", metavar="NAME|GLOB", help="Only these layers.")
@_JSON
def show(record: Path, pattern: str | None, as_json: bool) -> None:
    """Show the layers of RECORD: scales and offsets, and the real range each activation has."""
    from amct_lite.cli import record_table
    from amct_lite.cli.layout import matching, write_text
    from amct_lite.record import read_record
    from amct_lite.types import QuantRecord

    found = read_record(record)
    if pattern is not None:
        keys = matching(pattern, [layer.key for layer in found.layers], where=str(record))
        found = QuantRecord(tuple(layer for layer in found.layers if layer.key in keys), found.source)
    if as_json:
        write_text(json.dumps(record_table.as_mapping(found), indent=1, ensure_ascii=False))
    else:
        record_table.print_record(found)


@command.command("check")
@click.argument("record", type=_FILE)
@click.argument("model", type=_FILE)
@click.option(
    "--target", type=click.Choice(["ascend", "generic"]), default="ascend", show_default=True, help="What is to run the result."
)
@_JSON
def check(record: Path, model: Path, target: str, as_json: bool) -> None:
    """Check RECORD against MODEL: all problems with their lines (exit code 7), or ok."""
    from amct_lite.cli.layout import write_text
    from amct_lite.loading import fusion_of, load_prepared
    from amct_lite.plan import layer_facts
    from amct_lite.record import check_record, read_record, require_valid
    from amct_lite.types import FUSE_ALL

    found = read_record(record)
    facts = layer_facts(target, load_prepared(model, fusion_of(found, FUSE_ALL)).prepared)
    rest = _quantizable_without_entry(found, facts)
    if as_json:
        problems = check_record(found, facts)
        tensors = sum(entry.tensor_quantize for entry in found.layers)
        counts = {"layers": len(found.layers) - tensors, "tensors": tensors}
        report = {"ok": not problems, **counts, "left_in_float": rest, "problems": problems}
        write_text(json.dumps(report, indent=1, ensure_ascii=False))
        if problems:
            click.get_current_context().exit(7)
        return
    require_valid(found, facts)
    from amct_lite.cli.layout import count_of, entries

    verb = "fits" if len(found.layers) == 1 else "fit"
    tensors = sum(entry.tensor_quantize for entry in found.layers)
    left = f"{count_of(len(rest), 'more layer')} could be quantized" if rest else "no other layer could be quantized"
    click.echo(f"ok: {entries(len(found.layers) - tensors, tensors)} of {record} {verb} {model}; {left}.")


@command.command("diff")
@click.argument("a", type=_FILE)
@click.argument("b", type=_FILE)
@_JSON
@click.pass_context
def diff(ctx: click.Context, a: Path, b: Path, as_json: bool) -> None:
    """Compare two records. Exit code 0 when they say the same, 1 when they differ."""
    from amct_lite.record import diff_records, read_record

    found = diff_records(read_record(a), read_record(b))
    if as_json:
        click.echo(json.dumps(found.to_json(), indent=1, ensure_ascii=False))
    else:
        for line in found.lines():
            click.secho(line, fg=_COLOURS.get(line[0]))
    ctx.exit(0 if found.identical else 1)


def _quantizable_without_entry(record: QuantRecord, facts: Mapping[str, LayerFacts]) -> list[str]:
    return [name for name, fact in facts.items() if fact.quantizable and name not in record.by_key]
