"""A finished run in a terminal: figures first, a row a layer with its values as a sparkline, then what deserves a look."""

from __future__ import annotations

from math import log1p

from rich.console import Console
from rich.markup import escape

from amct_lite.cli.alike import SHARED, labels, sharing
from amct_lite.cli.layout import NARROW, TIGHT, console, print_annotated, print_table, say
from amct_lite.cli.output import print_in_float, print_skips
from amct_lite.cli.report_analyses import print_analyses
from amct_lite.page.summary import figures_of, number, percent, remarks_of, sqnr
from amct_lite.page.values import Histogram, LayerView, Page, TensorView
from amct_lite.reports.warnings import POOR_SQNR_DB

_BLOCKS = " ▁▂▃▄▅▆▇█"
_WIDTH, _NARROW_WIDTH, _TIGHT_WIDTH = 24, 12, 8
_WORST = 5


def print_page(page: Page) -> None:
    """Everything that fits, on standard output."""
    out = console()
    say(out, f"[bold]{escape(page.report.model)}[/]")
    for fact in figures_of(page):
        say(out, f"[dim]{escape(fact.name.lower())}:[/] [bold]{escape(fact.value)}[/] ({escape(fact.detail)})")
    out.print()
    _print_layers(out, page)
    shown = sharing([layer.row for layer in page.layers], terminal=True)  # five times one tensor are no five layers
    worst = sorted(
        (layer for layer in page.layers if layer.row.sqnr_db is not None and layer.row.name in shown),
        key=lambda layer: layer.row.sqnr_db or 0.0,
    )
    if len(page.layers) > 2 * _WORST:
        rows = [(*labels(layer.row, shown[layer.row.name]), _sqnr(layer)) for layer in worst[:_WORST]]
        print_table(out, "weakest layers", ("layer", "op", "#SQNR dB"), rows)
    if page.report.skips:
        print_skips(out, page.report.skips)
    kernels = page.report.kernels
    if kernels is not None and kernels.in_float:
        print_in_float(out, kernels.in_float)
    print_analyses(out, page.analyses)
    for warning in (*filter(None, [page.stale]), *page.report.warnings):
        say(out, f"[bold yellow]warning:[/] {escape(warning)}")


def _print_layers(out: Console, page: Page) -> None:
    narrow = out.width < NARROW
    width = _TIGHT_WIDTH if out.width < TIGHT else _NARROW_WIDTH if narrow else _WIDTH
    columns = [
        "layer",
        "op",
        "#SQNR dB",
        "#values",
        *([] if narrow else ["#low", "#high"]),
        "#clipped",
    ]
    shown = sharing([layer.row for layer in page.layers], terminal=out.is_terminal)
    printed = [layer for layer in page.layers if layer.row.name in shown]
    rows = []
    for layer in printed:
        tensor = layer.tensors[0] if layer.tensors else None
        low, high = tensor.seen if tensor and tensor.seen else (None, None)
        cells = [*labels(layer.row, shown[layer.row.name]), _sqnr(layer), sparkline(tensor, width)]
        cells += [] if narrow else [number(low), number(high)]
        rows.append([*cells, percent(tensor.clipped if tensor else None)])
    remarks = ["; ".join(remarks_of(layer)) for layer in printed]
    print_annotated(out, "layers: the values each one reads, the part that its codes reach underlined", columns, rows, remarks)
    if len(printed) < len(page.layers):
        say(out, f"[dim]{SHARED}[/]")
        out.print()


def _sqnr(layer: LayerView) -> str:
    value = layer.row.sqnr_db
    text = sqnr(value)
    return f"[bold yellow]{text}[/]" if value is not None and value < POOR_SQNR_DB else text


def sparkline(tensor: TensorView | None, width: int) -> str:
    """A character for each of `width` equal parts of the histogram, its height the logarithm of the count (markup): underlined
    where the codes reach, dim where they do not."""
    if tensor is None or tensor.histogram is None:
        return ""
    counts = merged(tensor.histogram, width)
    most = log1p(max(counts)) or 1.0
    blocks = [_BLOCKS[0 if not count else max(1, round(8 * log1p(count) / most))] for count in counts]
    histogram = tensor.histogram
    span = (histogram.high - histogram.low) or 1.0
    first, last = (round(width * (bound - histogram.low) / span) for bound in tensor.clip)
    parts = ((blocks[:first], "dim"), (blocks[first:last], "underline"), (blocks[last:], "dim"))
    return "".join(f"[{style}]{''.join(part)}[/]" for part, style in parts if part)


def merged(histogram: Histogram, width: int) -> tuple[int, ...]:
    """Its counts in `width` parts; every bin goes into the part that its middle lies in."""
    parts = [0] * width
    for position, count in enumerate(histogram.counts):
        parts[int((position + 0.5) * width / len(histogram.counts))] += count
    return tuple(parts)
