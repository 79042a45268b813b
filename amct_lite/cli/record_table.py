"""A record as a table and as plain values for JSON, in the words of the record file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from math import inf

from amct_lite.cli.layout import NARROW, console, entries, print_annotated, say
from amct_lite.numerics.affine import real_range
from amct_lite.record import UNIT_WEIGHT, RecurrentRecord, type_names
from amct_lite.record.diff import record_fields
from amct_lite.record.suspicions import channel_ratio, distinct_scales, suspicions, used_scales
from amct_lite.types import LayerRecord, QParams, QuantRecord

MOST_CLIPPED = 0.01
"""Range searches clip a few values in ten thousand on purpose; 1 % is a cut through the distribution."""
_ORDERS: Mapping[str, Callable[[LayerRecord], float]] = {
    "scale_d": lambda layer: layer.activation.scale[0],
    "offset_d": lambda layer: layer.activation.zero_point[0],
    "range": lambda layer: layer.activation.scale[0] * 2.0**layer.activation.bits,
    "scale_w": lambda layer: max(layer.weight.scale) if layer.weight else 0.0,
    "ratio": channel_ratio,
    "channels": lambda layer: len(layer.weight.scale) if layer.weight else 0,
}
_OF_DATA = ("scale_d", "offset_d", "range")
_ONCE = {"scale_d", "offset_d", "scale_h", "offset_h"}


@dataclass(frozen=True)
class Findings:
    """What is shown. layers: in the order of the table. odd: key → clauses; clipped: key → share of values, where known."""

    source: str | None
    layers: tuple[LayerRecord, ...]
    odd: Mapping[str, tuple[str, ...]]
    clipped: Mapping[str, float]


def findings(record: QuantRecord, keys: Collection[str], *, clipped: Mapping[str, float], sort: str | None = None) -> Findings:
    """Of the layers `keys`; what is odd is judged with all layers in view. sort: a name in `_ORDERS`, largest first,
    tables last by what they have not."""
    layers = [layer for layer in record.layers if layer.key in keys]
    if sort is not None:
        order = _ORDERS[sort]
        layers.sort(key=lambda layer: order(layer) if sort not in _OF_DATA or layer.has_data else -inf, reverse=True)
    odd = dict(suspicions(record))
    for key, share in clipped.items():
        if share > MOST_CLIPPED:
            odd[key] = (*odd.get(key, ()), f"its range clips {100 * share:.2g} % of the values")
    return Findings(record.source, tuple(layers), odd, clipped)


def print_record(found: Findings) -> None:
    """A row a layer on standard output."""
    out = console()
    narrow = out.width < NARROW
    columns = ["layer", "#scale_d", "#offset_d", "range", *(["#clipped"] if found.clipped else []), "scale_w"]
    columns += [] if narrow else ["types"]
    rows = []
    for layer in found.layers:
        cells = [layer.key, *_data_cells(layer)]
        if found.clipped:
            share = found.clipped.get(layer.key)
            cells.append("" if share is None else f"{100 * share:.2g} %")
        cells += [_weight_scales(layer.weight), *([] if narrow else [_types(layer)])]
        rows.append(cells)
    notes = [", ".join(filter(None, (_notes(layer), *found.odd.get(layer.key, ())))) for layer in found.layers]
    print_annotated(out, found.source or "record", columns, rows, notes)
    tensors = sum(layer.tensor_quantize for layer in found.layers)
    say(out, f"{entries(len(found.layers) - tensors, tensors)}: {', '.join(_types_counted(found.layers))}")


def _types_counted(layers: Sequence[LayerRecord]) -> list[str]:
    return [f"{count} {types}" for types, count in Counter(map(_types, layers)).items()]


def _data_cells(layer: LayerRecord) -> list[str]:
    if not layer.has_data:
        return ["—", "—", "—"]
    low, high = real_range(layer.activation)
    return [f"{layer.activation.scale[0]:.6g}", str(layer.activation.zero_point[0]), rf"\[{low:.4g}, {high:.4g}]"]


def _types(layer: LayerRecord) -> str:
    return type_names(layer) if layer.has_data or layer.weight is None else f"INT{layer.weight.bits} weight"


def as_mapping(found: Findings) -> dict[str, object]:
    """Plain lists and dicts: every field of every layer; `range`, the real numbers that the codes stand for;
    `distinct_scale_w`; `odd`; `clipped`, null where it is not known. What is of data is null for a table."""
    return {
        "source": found.source,
        "layers": {
            layer.key: {
                **_single(record_fields(layer)),
                "range": real_range(layer.activation),
                **({} if layer.has_data else dict.fromkeys(_OF_DATA)),
                "distinct_scale_w": distinct_scales(layer),
                "odd": found.odd.get(layer.key, ()),
                "clipped": found.clipped.get(layer.key),
            }
            for layer in found.layers
        },
    }


def _single(fields: Mapping[str, object]) -> dict[str, object]:
    """Fields that occur once as the number itself."""
    return {name: value[0] if name in _ONCE and isinstance(value, tuple) else value for name, value in fields.items()}


def _weight_scales(weight: QParams | None) -> str:
    if weight is None or weight == UNIT_WEIGHT:
        return "—"
    if weight.per_tensor:
        return f"{weight.scale[0]:.4g}"
    used = used_scales(weight) or weight.scale
    zeros, distinct = len(weight.scale) - len(used), len(set(used))
    different = "" if distinct == len(used) else f", {distinct} distinct"
    unused = f", {zeros} of zeros" if zeros else ""
    return f"{min(used):.4g} … {max(used):.4g} ({len(weight.scale)}{different}{unused})"


def _notes(layer: LayerRecord) -> str:
    notes = []
    if layer.tensor_quantize:
        notes.append("one tensor")
    if isinstance(layer, RecurrentRecord):
        notes += [f"scale_h {layer.hidden.scale[0]:.4g}"] if layer.hidden else []
        notes += [f"scale_r {_weight_scales(layer.recurrence)}"] if layer.recurrence else []
    if any(layer.shift_bit):
        notes.append(f"shift_bit {min(layer.shift_bit)} … {max(layer.shift_bit)}")
    if layer.balance_factor:
        notes.append(f"{len(layer.balance_factor)} tensor_balance_factor")
    if layer.skip_fusion is not None:
        notes.append(f"skip_fusion {str(layer.skip_fusion).lower()}")
    if layer.data_type:
        notes.append(layer.data_type)
    return ", ".join(notes)
