"""A record as a table and as plain values for JSON, in the words of the record file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from amct_lite.cli.layout import NARROW, console, entries, print_annotated, say
from amct_lite.record import UNIT_WEIGHT, RecurrentRecord, record_fields, type_names
from amct_lite.types import LayerRecord, QParams, QuantRecord, QuantSpec

_ONCE = {"scale_d", "offset_d", "scale_h", "offset_h"}


def print_record(record: QuantRecord) -> None:
    """A row a layer on standard output."""
    out = console()
    narrow = out.width < NARROW
    columns = ["layer", "#scale_d", "#offset_d", "range", "scale_w", *([] if narrow else ["types"])]
    rows = []
    for layer in record.layers:
        activation = layer.activation
        low, high = real_range(activation)
        cells = [layer.key, f"{activation.scale[0]:.6g}", str(activation.zero_point[0]), rf"\[{low:.4g}, {high:.4g}]"]
        cells += [_weight_scales(layer.weight), *([] if narrow else [type_names(layer)])]
        rows.append(cells)
    print_annotated(out, record.source or "record", columns, rows, [_notes(layer) for layer in record.layers])
    tensors = sum(entry.tensor_quantize for entry in record.layers)
    say(out, f"{entries(len(record.layers) - tensors, tensors)}: {', '.join(_types_counted(record))}")


def _types_counted(record: QuantRecord) -> list[str]:
    return [f"{count} {types}" for types, count in Counter(map(type_names, record.layers)).items()]


def as_mapping(record: QuantRecord) -> dict[str, object]:
    """Plain lists and dicts: every field of every layer, and `range`, the real numbers that the codes stand for."""
    return {
        "source": record.source,
        "layers": {
            layer.key: {**_single(record_fields(layer)), "range": real_range(layer.activation)} for layer in record.layers
        },
    }


def _single(fields: Mapping[str, object]) -> dict[str, object]:
    """Fields that occur once as the number itself."""
    return {name: value[0] if name in _ONCE and isinstance(value, tuple) else value for name, value in fields.items()}


def real_range(activation: QParams) -> tuple[float, float]:
    """What the smallest and the largest code of a per-tensor activation stand for."""
    spec = QuantSpec(activation.bits)
    scale, zero_point = activation.scale[0], activation.zero_point[0]
    return (spec.qmin - zero_point) * scale, (spec.qmax - zero_point) * scale


def _weight_scales(weight: QParams | None) -> str:
    if weight is None or weight == UNIT_WEIGHT:
        return "—"
    if weight.per_tensor:
        return f"{weight.scale[0]:.4g}"
    return f"{min(weight.scale):.4g} … {max(weight.scale):.4g} ({len(weight.scale)})"


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
