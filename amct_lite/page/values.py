"""What a page shows, as frozen plain values: everything that the HTML, the plots, the terminal and the JSON have in common."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from amct_lite.reports.report import LayerRow, Report, as_plain


@dataclass(frozen=True)
class Histogram:
    """counts: values in each of equally wide bins from `low` to `high`."""

    low: float
    high: float
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Spread:
    """Ranges of channels, in order. count: how many channels there are; with more of them than bars, a bar is the hull of
    neighbours."""

    low: tuple[float, ...]
    high: tuple[float, ...]
    count: int


@dataclass(frozen=True)
class TensorView:
    """One activation input. clip: the real numbers of its smallest and largest code.

    The others are None without calibration: seen: smallest and largest value; clipped: share of values outside `clip`;
    silent: channels that are 0 in all samples.
    """

    name: str
    clip: tuple[float, float]
    seen: tuple[float, float] | None = None
    clipped: float | None = None
    histogram: Histogram | None = None
    channels: Spread | None = None
    silent: int = 0


@dataclass(frozen=True)
class LayerView:
    """A row of the report with what is known of its tensors. weights: per output channel, in real numbers; dead: output
    channels whose weights do nothing."""

    row: LayerRow
    tensors: tuple[TensorView, ...]
    weights: Spread | None = None
    dead: int = 0


@dataclass(frozen=True)
class Step:
    """A node in the drawing of the graph, which runs downwards in lanes.

    state: `quantized`, `float` (could have been quantized), `edge` (an input or output of the network) or empty. lane: its own;
    passing: lanes that run past it; into: lanes that end in it or branch off to it; out: lanes that begin at it.
    """

    name: str
    op_type: str
    state: str
    lane: int
    passing: tuple[int, ...]
    into: tuple[int, ...]
    out: tuple[int, ...]


@dataclass(frozen=True)
class Series:
    """A number for each of some layers, as an analysis measured it. label: what the number is, with its unit."""

    label: str
    values: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Point:
    """A solution of a search. x and y as the axes of its front say; chosen: it is the one that was exported, which need
    not lie on the line of the others."""

    x: float
    y: float
    chosen: bool = False


@dataclass(frozen=True)
class Front:
    """What a search found, and what its axes are. logarithmic: whether y spans orders of magnitude."""

    x: str
    y: str
    logarithmic: bool
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Flow:
    """Signal over noise in dB at each tensor, in the order of the graph: of all errors so far, and of the last step alone (None
    where there is no finite number). jumps: positions at which the error arises."""

    accumulated: tuple[float | None, ...]
    alone: tuple[float | None, ...]
    jumps: tuple[int, ...]


@dataclass(frozen=True)
class Pairs:
    """Two numbers for each of some things. labels: what the first and the second of them are; unit: of both."""

    labels: tuple[str, str]
    unit: str
    values: tuple[tuple[str, float, float], ...]


@dataclass(frozen=True)
class Table:
    """columns: a title that begins with `#` is one of numbers; rows: texts. title: what a row is."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    title: str = "Table"


@dataclass(frozen=True)
class Analysis:
    """A section that comes from a file of its own. command: what writes that file; the other fields are empty without it.

    stale: why its numbers are not those of the run that is shown, empty where they are. findings: what it found, in sentences.
    """

    title: str
    about: str
    command: str
    source: str = ""
    stale: str = ""
    findings: tuple[str, ...] = ()
    series: Series | None = None
    pairs: Pairs | None = None
    front: Front | None = None
    flow: Flow | None = None
    tables: tuple[Table, ...] = ()


@dataclass(frozen=True)
class Page:
    """report: what the run said. weights_from: `float` or `fake_quant`, the model whose weights are shown. graph: empty without
    a model. stale: why the report is not of the record that lies beside it, empty where it is."""

    report: Report
    layers: tuple[LayerView, ...]
    graph: tuple[Step, ...]
    analyses: tuple[Analysis, ...]
    weights_from: str = ""
    stale: str = ""

    def to_json(self) -> str:
        """Indented JSON with all fields; a number that is not finite is written as a string."""
        return json.dumps(as_plain(asdict(self)), indent=1, ensure_ascii=False) + "\n"


def drawn(page: Page) -> Mapping[str, Any]:
    """What the script of the HTML draws when somebody opens it: numbers without names, as small as can be.

    Ranges are in thousandths of the largest magnitude of their tensor, which stands beside them.
    """
    layers = [
        {
            "tensors": [_tensor(tensor) for tensor in layer.tensors],
            "weights": _spread(layer.weights),
            "dead": layer.dead,
        }
        for layer in page.layers
    ]
    graph = [[s.name, s.op_type, s.state, s.lane, s.passing, s.into, s.out] for s in page.graph]
    return {"layers": layers, "graph": graph}


def _tensor(tensor: TensorView) -> dict[str, Any]:
    plain: dict[str, Any] = {"name": tensor.name, "clip": tensor.clip, "silent": tensor.silent}
    if tensor.histogram is not None:
        plain |= {"seen": tensor.seen, "clipped": tensor.clipped}
        plain |= {"from": tensor.histogram.low, "to": tensor.histogram.high, "counts": tensor.histogram.counts}
    return plain | {"channels": _spread(tensor.channels)}


def _spread(spread: Spread | None) -> dict[str, Any] | None:
    if spread is None:
        return None
    peak = max(map(abs, (*spread.low, *spread.high)), default=0.0)
    low, high = ([round(1000 * value / peak) if peak else 0 for value in values] for values in (spread.low, spread.high))
    return {"count": spread.count, "peak": peak, "low": low, "high": high}
