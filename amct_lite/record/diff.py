"""What changed between two records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from amct_lite.record.layer import UNIT_WEIGHT, RecurrentRecord
from amct_lite.types import LayerRecord, QParams, QuantRecord

FieldValue = tuple[float, ...] | tuple[int, ...] | str | bool | None
Fields = Mapping[str, FieldValue]


@dataclass(frozen=True)
class FieldChange:
    """One field of one layer, in the record's words; vectors as tuples, None for what is not there.

    relative: the largest |new - old| / |old| over the values, None where it says nothing (other lengths, words, 0).
    """

    field: str
    old: FieldValue
    new: FieldValue
    relative: float | None = None


@dataclass(frozen=True)
class LayerDiff:
    key: str
    changes: tuple[FieldChange, ...]


@dataclass(frozen=True)
class RecordDiff:
    """Keys only in the second record, keys only in the first, and the layers that differ; in file order."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[LayerDiff, ...]

    @property
    def identical(self) -> bool:
        return not (self.added or self.removed or self.changed)

    def to_json(self) -> dict[str, object]:
        """Plain lists and dicts for json.dumps."""
        changed = {
            layer.key: {c.field: {"old": c.old, "new": c.new, "relative": c.relative} for c in layer.changes}
            for layer in self.changed
        }
        return {"added": list(self.added), "removed": list(self.removed), "changed": changed}

    def lines(self) -> Iterator[str]:
        """The difference in words, a line a fact."""
        if self.identical:
            yield "the records are equal"
        yield from (f"- {key}: only in the first record" for key in self.removed)
        yield from (f"+ {key}: only in the second record" for key in self.added)
        for layer in self.changed:
            yield from (f"~ {layer.key}: {_in_words(change)}" for change in layer.changes)


def diff_records(a: QuantRecord, b: QuantRecord) -> RecordDiff:
    """From `a` to `b`. The order of the layers and the way numbers are written make no difference."""
    changed = []
    for layer in a.layers:
        other = b.by_key.get(layer.key)
        changes = _changes(record_fields(layer), record_fields(other)) if other is not None else ()
        if changes:
            changed.append(LayerDiff(layer.key, changes))
    return RecordDiff(
        added=tuple(layer.key for layer in b.layers if layer.key not in a.by_key),
        removed=tuple(layer.key for layer in a.layers if layer.key not in b.by_key),
        changed=tuple(changed),
    )


def _changes(old: Fields, new: Fields) -> tuple[FieldChange, ...]:
    return tuple(
        FieldChange(name, old[name], new[name], _relative(old[name], new[name])) for name in old if old[name] != new[name]
    )


def record_fields(layer: LayerRecord) -> Fields:
    """Every field of the record file that the layer stands for; the same names for every layer."""
    weight = layer.weight if layer.weight is not None or layer.tensor_quantize else UNIT_WEIGHT
    recurrent = layer if isinstance(layer, RecurrentRecord) else None
    return {
        "scale_d": layer.activation.scale,
        "offset_d": layer.activation.zero_point,
        "act_type": f"INT{layer.activation.bits}" if layer.has_data else None,
        **_pair("w", weight),
        "wts_type": f"INT{weight.bits}" if weight else None,
        **_pair("h", recurrent.hidden if recurrent else None),
        **_pair("r", recurrent.recurrence if recurrent else None),
        "shift_bit": layer.shift_bit,
        "skip_fusion": layer.skip_fusion,
        "is_tensor_quantize": layer.tensor_quantize,
        "tensor_balance_factor": layer.balance_factor,
        "op_data_type": layer.data_type,
    }


def _pair(letter: str, params: QParams | None) -> dict[str, FieldValue]:
    return {
        f"scale_{letter}": params.scale if params else None,
        f"offset_{letter}": params.zero_point if params else None,
    }


def _relative(old: FieldValue, new: FieldValue) -> float | None:
    if not (isinstance(old, tuple) and isinstance(new, tuple)) or len(old) != len(new) or not all(old):
        return None
    return max((abs(n - o) / abs(o) for o, n in zip(old, new, strict=True)), default=None)


def _in_words(change: FieldChange) -> str:
    old, new = change.old, change.new
    if isinstance(old, tuple) and isinstance(new, tuple) and len(old) == len(new) > 1:
        moved = [i for i in range(len(old)) if old[i] != new[i]]
        worst = max(moved, key=lambda i: abs(new[i] - old[i]) / (abs(old[i]) or 1.0))
        example = f"{change.field}[{worst}] {_shown(old[worst])} → {_shown(new[worst])}{_percent(old[worst], new[worst])}"
        return f"{len(moved)} of {len(old)} {change.field} differ, most {example}"
    percent = _percent(old[0], new[0]) if _single(old, new) and isinstance(old, tuple) and isinstance(new, tuple) else ""
    return f"{change.field} {_shown(old)} → {_shown(new)}{percent}"


def _single(old: FieldValue, new: FieldValue) -> bool:
    return isinstance(old, tuple) and isinstance(new, tuple) and len(old) == len(new) == 1


def _percent(old: float, new: float) -> str:
    return f" ({100 * (new - old) / abs(old):+.3g} %)" if old and isinstance(old, float) else ""


def _shown(value: FieldValue | float) -> str:
    if value is None or value == () or value == "":
        return "absent"
    if isinstance(value, tuple):
        return _shown(value[0]) if len(value) == 1 else f"{len(value)} values"
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:.7g}" if isinstance(value, float) else str(value)
