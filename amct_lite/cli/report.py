"""`amct-lite report`: a finished run as one HTML page, as plots, as JSON, or in short in the terminal."""

from __future__ import annotations

from pathlib import Path

import click

from amct_lite.cli import completion

_FILE = click.Path(path_type=Path)
_PAGES = {".html", ".htm"}


@click.command("report", short_help="Show a finished run: in the terminal, as HTML, plots or JSON.")
@click.argument("prefix", type=str, shell_complete=completion.paths)
@click.option("-o", "--output", metavar="FILE.html", type=_FILE, help="Write one HTML file that needs nothing else.")
@click.option("--model", type=_FILE, help="The float model: shows weights as they were before rounding.")
@click.option("--record", type=_FILE, help="The record, where it does not lie beside the report (after `convert`).")
@click.option("--plots", metavar="DIR", type=_FILE, help="Write every figure as a file into this folder.")
@click.option("--plot-format", type=click.Choice(["png", "svg"]), default="png", show_default=True, help="With --plots.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def command(
    prefix: str,
    output: Path | None,
    model: Path | None,
    record: Path | None,
    plots: Path | None,
    plot_format: str,
    as_json: bool,
) -> None:
    """Show the run that wrote its files under PREFIX, such as out/resnet."""
    from amct_lite.cli.layout import console, say_whole, size, write_text
    from amct_lite.page.gather import read_page

    if output is not None and output.suffix.lower() not in _PAGES:
        raise click.BadParameter(f"{output} would be a page of HTML; let its name end in .html.", param_hint="--output")
    page = read_page(prefix, model=model, record=record)
    written: list[Path] = []
    if output is not None or plots is not None:
        from amct_lite.page.writing import write_page

        written = write_page(page, prefix, html=output, plots=plots, plot_format=plot_format, inputs=(model, record))
    if as_json:
        write_text(page.to_json())
    elif not written:
        from amct_lite.cli.report_table import print_page

        print_page(page)
    else:
        out = console()
        if output is not None:
            say_whole(out, f"wrote {output} ({size(output.stat().st_size)})")
        if plots is not None:
            say_whole(out, f"wrote {len(written) - (output is not None)} figures into {plots}")
