"""The drawings of a page by matplotlib: the gate to it. A figure is drawn with a few stand-in colours that `svg_of` turns into
colours of the page, so that it follows light and dark; `save` writes it as it is, on white.

Same page, same bytes: no dates, fixed salt for identifiers, text as text.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from amct_lite.errors import ConfigError
from amct_lite.page.values import Flow, Front, Histogram, LayerView, Page, Pairs, Series, Spread
from amct_lite.reports.warnings import POOR_SQNR_DB

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, LINE, ACCENT, WARN = "#1b1f24", "#5b6470", "#d5dae0", "#1f5fbf", "#b35900"
_VARIABLES = {INK: "--ink", MUTED: "--muted", LINE: "--line", ACCENT: "--accent", WARN: "--warn"}
_WIDTH = 9.6
MOST_BARS = 25
_DECADES = 30
_EXACT_DB = 100.0
"""A step that adds no more than this is exact but for float32's own rounding; it would only squeeze the others."""
_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 10,
    "text.parse_math": False,  # a name with dollar signs is a name
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": LINE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "svg.fonttype": "none",
    "svg.hashsalt": "amct-lite",
    "figure.constrained_layout.use": True,
    "savefig.transparent": False,
}


def require_matplotlib() -> None:
    """Raises ConfigError when it is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise ConfigError("the report needs matplotlib, which is not installed: pip install 'amct-lite[report]'.") from None


def overview(page: Page) -> dict[str, Figure]:
    """Name → figure, those that the page has numbers for. Names serve as those of files."""
    require_matplotlib()
    figures: dict[str, Figure] = {}
    with _style():
        if any(layer.row.sqnr_db is not None for layer in page.layers):
            figures["error"] = _error(page)
        for analysis in page.analyses:
            name = analysis.title.lower().replace(" ", "_")
            if analysis.series is not None and analysis.series.values:
                figures[name] = _bars(analysis.series)
            if analysis.pairs is not None and analysis.pairs.values:
                figures[name] = _pairs(analysis.pairs)
            if analysis.flow is not None and analysis.flow.accumulated:
                figures[name] = _flow(analysis.flow)
            if analysis.front is not None and analysis.front.points:
                figures[f"{name}_front"] = _front(analysis.front)
    return figures


def layer_figures(page: Page) -> Iterator[tuple[str, Figure]]:
    """(name for a file, figure) of each layer that has a histogram or weights."""
    require_matplotlib()
    for number, layer in enumerate(page.layers, 1):
        name = re.sub(r"[^A-Za-z0-9._-]+", "_", layer.row.name).strip("_")[-60:]
        if any(tensor.histogram for tensor in layer.tensors) or layer.weights:
            with _style():
                yield f"layer_{number:03d}_{name}", _layer(layer)


def svg_of(figure: Figure, description: str) -> str:
    """The figure as an element of an HTML page, in its colours."""
    with _style():
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata=_NO_METADATA)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*">', "<g>", text)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    head, rest = text.split(">", 1)
    head = re.sub(r' (width|height)="[^"]*"', "", head)  # the page decides the size
    text = f"{head}>{rest}"
    return text.replace("<svg ", f'<svg role="img" aria-label="{html.escape(description)}" ', 1)


def save(figure: Figure, path: Path) -> None:
    """As PNG or SVG, as the name says."""
    with _style():
        metadata = {"Software": None} if path.suffix == ".png" else _NO_METADATA
        figure.savefig(path, dpi=160, metadata=metadata)


_NO_METADATA: dict[str, Any] = {"Date": None, "Creator": None, "Format": None, "Type": None}


@contextmanager
def _style() -> Iterator[None]:
    import matplotlib

    with matplotlib.rc_context(_STYLE):
        yield


def _new(height: float, columns: int = 1) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    return figure, list(figure.subplots(1, columns, squeeze=False)[0])


def _error(page: Page) -> Figure:
    """The signal over the noise that quantization adds to each layer's own output, in the order of the graph."""
    figure, (axes,) = _new(2.9)
    measured = [
        (number, layer.row.sqnr_db)
        for number, layer in enumerate(page.layers, 1)
        if layer.row.sqnr_db is not None and abs(layer.row.sqnr_db) != float("inf")
    ]
    size = 26 if len(measured) <= 60 else 10
    for colour, poor in ((ACCENT, False), (WARN, True)):
        points = [(x, y) for x, y in measured if (y < POOR_SQNR_DB) is poor]
        axes.scatter([x for x, _ in points], [y for _, y in points], s=size, color=colour, linewidths=0)
    axes.axhline(POOR_SQNR_DB, color=WARN, linewidth=0.8, dashes=(4, 3))
    axes.set_title(f"– –  below {POOR_SQNR_DB:.0f} dB a layer is named in the warnings", loc="right", color=WARN, fontsize=9)
    values = [y for _, y in measured]
    low, high = min([POOR_SQNR_DB, *values]), max([POOR_SQNR_DB, *values])
    axes.set_ylim(low - 0.12 * (high - low) - 2, high + 0.06 * (high - low) + 1)
    _along_the_graph(axes, "layer", len(page.layers))
    return figure


def _flow(flow: Flow) -> Figure:
    """A line of the accumulated error, a grey dot for each step alone, and rings where the error arises."""
    figure, (axes,) = _new(2.9)
    nan = float("nan")
    line = [nan if value is None else value for value in flow.accumulated]
    alone = [nan if value is None or value > _EXACT_DB else value for value in flow.alone]
    axes.scatter(range(1, len(line) + 1), alone, s=9, color=MUTED, linewidths=0)
    axes.plot(range(1, len(line) + 1), line, color=ACCENT, linewidth=1.3)
    axes.scatter([at + 1 for at in flow.jumps], [line[at] for at in flow.jumps], s=60, facecolors="none", edgecolors=WARN)
    axes.set_title(
        "line: accumulated · dots: this step alone · rings: where the error arises", loc="right", fontsize=9, color=MUTED
    )
    _along_the_graph(axes, "tensor", len(line))
    return figure


def _along_the_graph(axes: Axes, what: str, count: int) -> None:
    """Labels of a plot of ratios: one for each of `count` things."""
    axes.set_xlim(0.5, count + 0.5)
    axes.set_xlabel(f"{what}, in the order of the graph")
    axes.set_ylabel("signal to noise, dB")
    axes.locator_params(axis="x", integer=True)
    axes.grid(axis="y")


def _bars(series: Series) -> Figure:
    """The layers at the beginning of a series, the first on top."""
    shown = series.values[:MOST_BARS]
    figure, (axes,) = _new(0.7 + 0.24 * len(shown))
    low, high = min(value for _, value in shown), max(value for _, value in shown)
    alike, decades = low > 0.5 * high > 0, _span_decades(shown)
    if alike or decades:  # an axis that does not begin at zero has no place for a bar to begin
        axes.scatter([value for _, value in shown], range(len(shown)), s=34, color=ACCENT, linewidths=0)
    else:
        axes.barh(range(len(shown)), [value for _, value in shown], height=0.62, color=ACCENT)
    if decades:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("")
    else:
        axes.ticklabel_format(axis="x", useOffset=False)
        axes.locator_params(axis="x", nbins=6)
    axes.set_yticks(range(len(shown)), [_short(name) for name, _ in shown])
    axes.invert_yaxis()
    more = f" (first {len(shown)} of {len(series.values)} layers)" if len(shown) < len(series.values) else ""
    axes.set_xlabel(series.label + more)
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.grid(axis="both" if alike or decades else "x")
    return figure


def _span_decades(values: Sequence[tuple[str, float]]) -> bool:
    """Whether most of these numbers would be no more than a line beside the largest."""
    numbers = sorted(value for _, value in values)
    return numbers[0] > 0 and numbers[-1] > _DECADES * numbers[len(numbers) // 2]


def _pairs(pairs: Pairs) -> Figure:
    """Two bars for each thing, in the order of the values, the first on top."""
    figure, (axes,) = _new(1.0 + 0.42 * len(pairs.values))
    places = range(len(pairs.values))
    for label, colour, column, shift in zip(pairs.labels, (ACCENT, MUTED), (1, 2), (-0.19, 0.19), strict=True):
        numbers = [float(row[column]) for row in pairs.values]
        axes.barh([place + shift for place in places], numbers, height=0.34, color=colour, label=label)
    axes.set_yticks(places, [_short(str(row[0])) for row in pairs.values])
    axes.invert_yaxis()
    axes.set_xlabel(pairs.unit)
    axes.legend(frameon=False, labelcolor=INK, loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderpad=0)
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.grid(axis="x")
    return figure


def _front(front: Front) -> Figure:
    """Cost and loss: the line of the supported points, and a ring around what was exported."""
    from matplotlib.ticker import EngFormatter

    figure, (axes,) = _new(3.4)
    points = sorted((point for point in front.points if not point.chosen), key=lambda point: (point.x, point.y))
    axes.plot([p.x for p in points], [p.y for p in points], color=ACCENT, marker="o", markersize=4, linewidth=1.2)
    for point in front.points:
        if point.chosen:
            axes.scatter([point.x], [point.y], s=110, facecolors="none", edgecolors=INK, linewidths=1.4)
            axes.annotate("chosen", (point.x, point.y), (9, 7), textcoords="offset points", fontsize=9)
    axes.set_xlabel(front.x)
    axes.set_ylabel(front.y)
    axes.xaxis.set_major_formatter(EngFormatter())
    if front.logarithmic:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("")
    axes.grid()
    return figure


def _layer(layer: LayerView) -> Figure:
    tensors = [tensor for tensor in layer.tensors if tensor.histogram]
    figure, panels = _new(2.6, max(1, len(tensors) + (layer.weights is not None)))
    figure.suptitle(f"{_short(layer.row.name, 90)} ({layer.row.op_type})", fontsize=10, x=0.01, ha="left")
    for axes, tensor in zip(panels, tensors, strict=False):
        if tensor.histogram is not None:
            _histogram(axes, tensor.histogram, tensor.clip, tensor.name)
    if layer.weights is not None:
        _ranges(panels[-1], layer.weights)
    return figure


def _histogram(axes: Axes, histogram: Histogram, clip: tuple[float, float], name: str) -> None:
    width = (histogram.high - histogram.low) / len(histogram.counts)
    lefts = [histogram.low + width * number for number in range(len(histogram.counts))]
    axes.axvspan(*clip, color=ACCENT, alpha=0.1, linewidth=0)
    axes.bar(lefts, histogram.counts, width=width, align="edge", color=ACCENT, linewidth=0)
    for bound in clip:
        axes.axvline(bound, color=INK, linewidth=0.9)
    axes.set_yscale("symlog", linthresh=1)
    axes.yaxis.set_major_formatter("{x:,.0f}")  # the default of such an axis is mathematics, which is off
    axes.set_ylim(bottom=0)
    axes.set_xlabel(f"{_short(name, 40)}: values, the range of the codes shaded")
    axes.set_ylabel("count")


def _ranges(axes: Axes, spread: Spread) -> None:
    axes.vlines(range(len(spread.low)), spread.low, spread.high, color=ACCENT, linewidth=max(0.6, 160 / len(spread.low) / 2))
    axes.set_xlabel(f"output channel ({spread.count})")
    axes.set_ylabel("weights")
    axes.grid(axis="y")


def _short(name: str, longest: int = 48) -> str:
    """The end of a name tells nodes of one block apart."""
    return name if len(name) <= longest else f"…{name[1 - longest :]}"
