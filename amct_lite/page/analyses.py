"""Sections whose numbers other commands measure: each from its JSON file beside the run, or with the command that writes it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Any

from amct_lite.errors import ConfigError
from amct_lite.files import output_path
from amct_lite.page.values import Analysis, Flow, Front, Point, Series, Table

Content = Mapping[str, Any]


@dataclass(frozen=True)
class _Kind:
    """suffix: the file is `<prefix>_<suffix>`. about: what the section shows. command: what writes the file, with {model} and
    {prefix} to fill in. read: its content → what is shown, the other fields as they are."""

    suffix: str
    title: str
    about: str
    command: str
    read: Callable[[Analysis, Content], Analysis]


def analyses_beside(prefix: str | Path, model: str) -> tuple[Analysis, ...]:
    """One for each kind, in the order of the page, read where its file lies. model: its name, for the commands.

    Raises ConfigError for a file that is there and does not hold what its name says.
    """
    paths = {kind: output_path(prefix, kind.suffix) for kind in _KINDS}
    texts = {kind.suffix: path.read_text(encoding="utf-8") for kind, path in paths.items() if path.is_file()}
    return analyses_of(texts, prefix, model)


def analyses_of(texts: Mapping[str, str], prefix: str | Path, model: str) -> tuple[Analysis, ...]:
    """The same from the contents of the files, by what follows the prefix in their names."""
    return tuple(_analysis(kind, texts.get(kind.suffix), prefix, model) for kind in _KINDS)


def _analysis(kind: _Kind, text: str | None, prefix: str | Path, model: str) -> Analysis:
    path = output_path(prefix, kind.suffix)
    empty = Analysis(kind.title, kind.about, kind.command.format(model=model, prefix=prefix))
    if text is None:
        return empty
    try:
        return replace(kind.read(empty, json.loads(text)), source=path.name)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise ConfigError(
            f"{path} does not hold what its name says ({type(error).__name__}: {error}). Write it anew with "
            f"`{empty.command}`, or move it away."
        ) from error


def _bitops(empty: Analysis, content: Content) -> Analysis:
    total = sum(int(layer["bitops"]) for layer in content["layers"]) or 1
    columns = ("layer", "op", "#MACs", "#bits", "#bit operations", "#share", "#weights, bytes", "#output, bytes")
    rows = [
        (
            str(layer["name"]),
            str(layer["op_type"]),
            f"{int(layer['macs']):,}",
            f"{int(layer['act_bits'])} × {int(layer['weight_bits'])}",
            f"{int(layer['bitops']):,}",
            f"{100 * int(layer['bitops']) / total:.1f} %",
            f"{int(layer['weight_bytes']):,}",
            f"{int(layer['activation_bytes']):,}",
        )
        for layer in content["layers"]
    ]
    return replace(empty, table=Table(columns, tuple(rows)))


def _autocalibration(empty: Analysis, content: Content) -> Analysis:
    ranking = tuple((str(layer), float(score)) for layer, score in content["ranking"])
    rows = [tuple(_cell(value) for value in trial.values()) for trial in content["history"]]
    columns = tuple(name.replace("_", " ") for name in content["history"][0]) if rows else ()
    return replace(empty, series=Series("similarity of the layer's own output", ranking), table=Table(columns, tuple(rows)))


def _sensitivity(empty: Analysis, content: Content) -> Analysis:
    """The damage of the first candidate as bars, the worst on top; all effects as a table."""
    first = content["candidates"][0]
    damages = [(str(e["layer"]), _finite(e["damage"])) for e in content["effects"] if e["candidate"] == first]
    known = tuple(sorted((pair for pair in damages if pair[1] is not None), key=lambda pair: -float(pair[1] or 0)))
    ranked = tuple((name, damage) for name, damage in known if damage is not None)
    columns = ("layer", "op", "quantized as", f"#damage ({content['metric']})", "#own output, dB")
    rows = [
        tuple(_cell(value) for value in (e["layer"], e["op_type"], e["candidate"], e["damage"], e["local"]["sqnr_db"]))
        for e in content["effects"]
    ]
    label = f"damage of the layer alone as {first}: {content['metric']}, {content['method']}"
    return replace(empty, series=Series(label, ranked), table=Table(columns, tuple(rows)))


def _search(empty: Analysis, content: Content) -> Analysis:
    """The supported points of the front with the one that was exported, and models of one width for comparison."""
    chosen, cost = content["chosen"], str(content["cost"])
    points = [(_finite(point["cost"]), _finite(point["loss"]), False) for point in content["front"]]
    points.append((_finite(chosen["bitops" if cost == "bitops" else "weight_bytes"]), _finite(chosen["estimated_loss"]), True))
    known = [Point(x, y, mark) for x, y, mark in points if x is not None and y is not None]
    # What loses nothing has no place on a logarithmic axis; it is the float model, which the table has.
    lossy = tuple(point for point in known if point.y > 0)
    front = Front(cost, "estimated loss (error over signal)", bool(lossy), lossy or tuple(known))
    columns = ("quantized as", "#outputs, dB", "#bit operations", "#weights, bytes", "#metric")
    keys = ("name", "sqnr_db", "bitops", "weight_bytes", "metric")
    rows = tuple(tuple(_cell(strategy[key]) for key in keys) for strategy in content["strategies"])
    return replace(empty, front=front, table=Table(columns, rows))


def _compare(empty: Analysis, content: Content) -> Analysis:
    """Errors along the graph; numbers that are not finite are texts."""
    tensors = content["tensors"]

    def column(key: str) -> tuple[float | None, ...]:
        numbers = [float(row[key]) for row in tensors]
        return tuple(number if isfinite(number) else None for number in numbers)

    jumps = tuple(position for position, row in enumerate(tensors) if row["jump"])
    columns = ("tensor", "node", "op", "#accumulated, dB", "#this step alone, dB", "#cosine", "#largest error")
    keys = ("name", "node", "op_type", "sqnr_db", "isolated_db", "cosine", "max_error")
    rows = tuple(tuple(_cell(row[key]) for key in keys) for row in tensors)
    return replace(empty, flow=Flow(column("sqnr_db"), column("isolated_db"), jumps), table=Table(columns, rows))


def _finite(value: object) -> float | None:
    """null stands for what was not finite."""
    return None if value is None else float(str(value))


def _cell(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "—"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.5g}".replace("-", "−")
    return "—" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


_KINDS = (
    _Kind(
        "compare.json",
        "Error flow",
        "How the error grows along the graph: of all layers before a tensor, and of the step that computes it alone.",
        "amct-lite compare {model} {prefix}_fake_quant_model.onnx --data … -o {prefix}",
        _compare,
    ),
    _Kind(
        "sensitivity.json",
        "Sensitivity",
        "What each layer, quantized alone, does to the outputs of the network.",
        "amct-lite sensitivity {model} --record {prefix}_record.txt --data … -o {prefix}",
        _sensitivity,
    ),
    _Kind(
        "search.json",
        "Mixed precision",
        "What each budget buys: the cheapest widths for every loss, and models of one width for comparison.",
        "amct-lite search {model} --data … --budget bitops=0.25 -o {prefix}",
        _search,
    ),
    _Kind(
        "bitops.json",
        "Cost",
        "What each layer costs: multiply-accumulates, bit operations (FLOPs × bits of activation × bits of weight), bytes.",
        "amct-lite bitops {model} --record {prefix}_record.txt --json > {prefix}_bitops.json",
        _bitops,
    ),
    _Kind(
        "autocalibration.json",
        "Auto calibration",
        "Which layers went back to float to keep the user's metric: the ranking that was searched along, and each trial.",
        "amct-lite autocalibrate {model} --data … --evaluator … --max-loss … -o {prefix}",
        _autocalibration,
    ),
)
