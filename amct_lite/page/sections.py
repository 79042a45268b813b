"""The JSON of an analysis → what its section shows. A reader takes the section without content, and fills it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import inf, isfinite
from typing import Any

from amct_lite.page.values import Analysis, Flow, Front, Pairs, Point, Series, Table
from amct_lite.reports.wording import is_slower, on_integers, some

Content = Mapping[str, Any]

LAYERS = "Layers"
"""The title of a table with a row a layer."""
_MOST_NAMED = 8
_MOST_KINDS = 12


def bitops(empty: Analysis, content: Content) -> Analysis:
    """The layers by their share, all totals, and what the counts leave out."""
    total = sum(int(layer["bitops"]) for layer in content["layers"]) or 1
    shares = sorted(((str(layer["name"]), 100 * int(layer["bitops"]) / total) for layer in content["layers"]), key=_second)
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
    keys = ("bitops", "weight_bytes", "activation_bytes", "peak_activation_bytes", "peak_at")
    headings = ("arithmetic", "#bit operations", "#weights, bytes", "#activations, bytes", "#at once, bytes", "most while")
    totals = [(name, *(_cell(row[key]) for key in keys)) for name, row in content["totals"].items()]
    skipped = [skip["node"] for skip in content["not_counted"]]
    return replace(
        empty,
        findings=_sentences((skipped, f"Not counted, as there is no formula: {_named(skipped)}.")),
        series=Series("share of all bit operations, %", tuple(shares)),
        tables=(Table(headings, tuple(totals), "Total"), Table(columns, tuple(rows), LAYERS)),
    )


def autocalibration(empty: Analysis, content: Content) -> Analysis:
    """The ranking that was searched along as bars, every trial as a row."""
    ranking = tuple((str(layer), float(score)) for layer, score in content["ranking"])
    columns = ("left in float", "#layers", "#metric", "#loss", "acceptable")
    rows = [
        (
            "the float model" if trial["in_float"] is None else _named(trial["in_float"]) or "nothing",
            "all" if trial["in_float"] is None else str(len(trial["in_float"])),
            _cell(trial["metric"]),
            _cell(trial["loss"]),
            _cell(trial["acceptable"]),
        )
        for trial in content["history"]
    ]
    left = content["in_float"]
    return replace(
        empty,
        findings=(f"Left in float to keep the metric: {_named(left)}." if left else "Every layer could be quantized.",),
        series=Series("score that the layers are ranked by, the most sensitive on top", ranking),
        tables=(Table(columns, tuple(rows), "Models that were evaluated"),),
    )


def tuning(empty: Analysis, content: Content) -> Analysis:
    """A row a race."""
    columns = ("layers in float", "#time of before", "kept")
    rows = [(_named(race["layers"]), f"{race['ratio']:.3f}", _cell(race["kept"])) for race in content["races"]]
    left = content["in_float"]
    return replace(
        empty,
        findings=(
            f"Left in float, where this machine is faster: {_named(left)}."
            if left
            else "No layer is faster in float by enough.",
        ),
        tables=(Table(columns, tuple(rows), "Races"),),
    )


def sensitivity(empty: Analysis, content: Content) -> Analysis:
    """The damage of the first candidate as bars, the worst on top; all effects as a table."""
    first = content["candidates"][0]
    damages = [(str(e["layer"]), _finite(e["damage"])) for e in content["effects"] if e["candidate"] == first]
    ranked = sorted(((name, damage) for name, damage in damages if damage is not None), key=_second)
    columns = ("layer", "op", "quantized as", f"#damage ({content['metric']})", "#own output, dB")
    effects = sorted(content["effects"], key=lambda effect: (effect["damage"] is None, -(effect["damage"] or 0.0)))
    rows = [
        (*(str(e[key]) for key in ("layer", "op_type", "candidate")), _cell(e["damage"]), _decibels(e["local"]["sqnr_db"]))
        for e in effects
    ]
    label = f"damage of the layer alone as {first}: {content['metric']}, {content['method']}"
    samples = int(content["samples"])
    notes = (f"Measured on {samples} {'sample' if samples == 1 else 'samples'}.", *map(_sentence, content["notes"]))
    return replace(empty, findings=notes, series=Series(label, tuple(ranked)), tables=(Table(columns, tuple(rows), LAYERS),))


def search(empty: Analysis, content: Content) -> Analysis:
    """The supported points of the front with the one that was exported, and models of one width for comparison."""
    chosen, cost = content["chosen"], str(content["cost"])
    points = [(_finite(point["cost"]), _finite(point["loss"]), False) for point in content["front"]]
    points.append((_finite(chosen["bitops" if cost == "bitops" else "weight_bytes"]), _finite(chosen["estimated_loss"]), True))
    known = [Point(x, y, mark) for x, y, mark in points if x is not None and y is not None]
    # What loses nothing has no place on a logarithmic axis; it is the float model, which the table has.
    lossy = tuple(point for point in known if point.y > 0)
    unit = "bit operations" if cost == "bitops" else "bytes of weights"
    front = Front(unit, "estimated loss (error over signal)", bool(lossy), lossy or tuple(known))
    columns = ("quantized as", "#outputs, dB", "#bit operations", "#weights, bytes", "#metric")
    keys = ("bitops", "weight_bytes", "metric")
    rows = tuple((str(s["name"]), _decibels(s["sqnr_db"]), *(_cell(s[key]) for key in keys)) for s in content["strategies"])
    widths = tuple((layer, name) for layer, name in chosen["widths"].items())
    counts = ", ".join(f"{count} as {name}" for name, count in chosen["layers"].items())
    return replace(
        empty,
        findings=(f"Chosen: {counts}.", *map(_sentence, content["notes"])),
        front=front,
        tables=(Table(columns, rows, "Models beside each other"), Table(("layer", "quantized as"), widths, "Chosen widths")),
    )


def compare(empty: Analysis, content: Content) -> Analysis:
    """Errors along the graph; numbers that are not finite are texts."""
    tensors = content["tensors"]

    def column(key: str) -> tuple[float | None, ...]:
        numbers = [float(row[key]) for row in tensors]
        return tuple(number if isfinite(number) else None for number in numbers)

    jumps = tuple(position for position, row in enumerate(tensors) if row["jump"])
    columns = ("tensor", "node", "op", "#accumulated, dB", "#this step alone, dB", "#cosine", "#largest error")
    rows = tuple(
        (
            *(str(row[key]) for key in ("name", "node", "op_type")),
            *(_decibels(row[key]) for key in ("sqnr_db", "isolated_db")),
            f"{float(row['cosine']):.6f}".replace("-", "−"),
            _cell(row["max_error"]),
        )
        for row in tensors
    )
    arising = [str(tensors[position]["node"]) for position in jumps]
    return replace(
        empty,
        findings=(
            f"{content['other']} against {content['exact']}.",
            *_sentences(
                (arising, f"The error jumps at {_named(arising)}."),
                (content["unmatched"], f"Not in the second model: {_named(content['unmatched'])}."),
            ),
        ),
        flow=Flow(column("sqnr_db"), column("isolated_db"), jumps),
        tables=(Table(columns, rows, "Tensors"),),
    )


def explain(empty: Analysis, content: Content) -> Analysis:
    """A row a layer with its kernel, and the time of each kind of kernel beside that of the float model."""
    layers, kinds, total = content["layers"], content["kinds"], content["float_microseconds"]
    timed = total is not None
    columns = ("layer", "op", "kernel", "#µs", *(("#float, µs",) if timed else ()), "why it is in float")
    rows = [
        (
            *(str(layer[key]) for key in ("name", "op_type", "kernel")),
            *(_time(layer[key]) for key in ("microseconds", "float_microseconds")[: 1 + timed]),
            "; ".join(layer["reasons"]),
        )
        for layer in layers
    ]
    headings = ("kernel", "#nodes", "#µs", *(("#float nodes", "#float, µs") if timed else ()))
    keys = ("count", "microseconds", "float_count", "float_microseconds")
    costs = [(str(kind["op_type"]), *(_time(kind[key]) for key in keys))[: len(headings)] for kind in kinds]
    shown = [(str(k["op_type"]), float(k["microseconds"]), float(k["float_microseconds"])) for k in kinds[:_MOST_KINDS]]
    integer = sum(bool(layer["integer"]) for layer in layers)
    slow = [
        str(layer["name"])
        for layer in layers
        if layer["integer"] and is_slower(layer["microseconds"], layer["float_microseconds"])
    ]
    beside = f"; those of the float model {_time(total)} µs" if timed else ""
    return replace(
        empty,
        findings=(
            f"{content['model']}: {on_integers(integer, len(layers))}.",
            f"Left between kernels: {content['quantize']} QuantizeLinear, {content['dequantize']} DequantizeLinear.",
            f"All kernels of one run take {_time(content['microseconds'])} µs{beside}.",
            *_sentences(
                (content["stored"], f"{content['stored']} stored weights and biases become floats in every run."),
                (slow, f"Slower on integers than in float: {_named(slow)}."),
            ),
        ),
        pairs=Pairs(("this model", "float model"), "µs", tuple(shown)) if timed else None,
        series=None if timed else Series("µs of one run, by kernel", tuple((name, own) for name, own, _ in shown)),
        tables=(Table(columns, tuple(rows), LAYERS), Table(headings, tuple(costs), "Time of one run")),
    )


def handovers(empty: Analysis, content: Content) -> Analysis:
    """A row a layer of a deploy model."""
    layers = content["layers"]
    columns = ("layer", "op", "hands on", "what stands in between")
    rows = [
        (str(row["name"]), str(row["op_type"]), "integers" if row["fused"] else "float", "; ".join(row["reasons"]))
        for row in layers
    ]
    fused = sum(bool(layer["fused"]) for layer in layers)
    return replace(
        empty,
        findings=(
            f"{content['model']}: {fused} of {len(layers)} quantized layers hand integers on.",
            *_sentences((content["unquantized"], f"Not quantized: {_named(content['unquantized'])}.")),
        ),
        tables=(Table(columns, tuple(rows), LAYERS),),
    )


def _sentences(*candidates: tuple[object, str]) -> tuple[str, ...]:
    """Those of which there is something to say."""
    return tuple(sentence for something, sentence in candidates if something)


def _sentence(note: str) -> str:
    return f"{note[:1].upper()}{note[1:].removesuffix('.')}."


def _named(names: Sequence[str]) -> str:
    return some([str(name) for name in names], _MOST_NAMED)


def _second(pair: tuple[str, float]) -> float:
    """To sort the largest first."""
    return -pair[1]


def _finite(value: object) -> float | None:
    """null stands for what was not finite."""
    return None if value is None else float(str(value))


def _decibels(value: object) -> str:
    """Of a signal over its error; without an error they are not finite."""
    if value is None:
        return "—"
    decibels = float(str(value))
    return "exact" if decibels == inf else f"{decibels:.1f}".replace("-", "−")


def _time(value: object) -> str:
    """Microseconds, and counts; nothing is a dash."""
    return f"{float(str(value)):,.0f}" if value else "—"


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.5g}".replace("-", "−")
    return "—" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
