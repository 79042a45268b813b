"""New numbers for some layers of a record; the others, and the order, stay as they are."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from amct_lite.errors import RecordError
from amct_lite.record.layer import UNIT_WEIGHT, RecurrentRecord
from amct_lite.record.text import format_record, parse_record
from amct_lite.types import LayerRecord, QParams, QuantRecord


@dataclass(frozen=True)
class Edit:
    """None: as it was. scale_w_factor: every weight scale of the layer is multiplied by it, of a recurrence (scale_r), too."""

    scale_d: float | None = None
    offset_d: int | None = None
    scale_w_factor: float | None = None

    @property
    def of_data(self) -> bool:
        """Whether it changes what a table does not have."""
        return self.scale_d is not None or self.offset_d is not None


def edit_record(record: QuantRecord, keys: Collection[str], edit: Edit) -> QuantRecord:
    """`record` with `edit` made to the layers `keys`. Layers without weight scales have no use for `scale_w_factor`, tables
    none for what is of data.

    Raises RecordError when a result is not a valid record (a scale of 0, an offset outside of its integers …), or when none
    of the layers has what is to change.
    """
    chosen = [layer for layer in record.layers if layer.key in keys]
    named = ", ".join(layer.key for layer in chosen)
    if edit.scale_w_factor is not None and not any(map(_has_weight, chosen)):
        raise RecordError(f"no weight scale to change: {named} without one.")
    if edit.of_data and not any(layer.has_data for layer in chosen):
        raise RecordError(f"no scale_d or offset_d to change: {named} without data, as a table that rows are picked of.")
    edited = QuantRecord(tuple(_edited(layer, edit) if layer.key in keys else layer for layer in record.layers), record.source)
    return replace(parse_record(format_record(edited), "the record as edited"), source=record.source)


def tables_left_out(record: QuantRecord, keys: Collection[str], edit: Edit) -> tuple[str, ...]:
    """Those of `keys` that `edit` would give numbers of data, which they have not."""
    return tuple(layer.key for layer in record.layers if layer.key in keys and edit.of_data and not layer.has_data)


def _edited(layer: LayerRecord, edit: Edit) -> LayerRecord:
    activation, weight = layer.activation, layer.weight
    if edit.scale_d is not None and layer.has_data:
        activation = QParams.of(edit.scale_d, activation.zero_point[0], activation.bits)
    if edit.offset_d is not None and layer.has_data:
        activation = replace(activation, zero_point=(edit.offset_d,))
    if edit.scale_w_factor is not None and weight is not None and _has_weight(layer):
        weight = _scaled(weight, edit.scale_w_factor)
        if isinstance(layer, RecurrentRecord) and layer.recurrence is not None:
            layer = replace(layer, recurrence=_scaled(layer.recurrence, edit.scale_w_factor))
    return replace(layer, activation=activation, weight=weight)


def _scaled(weight: QParams, factor: float) -> QParams:
    return QParams.of(weight.scales * factor, weight.zero_points, weight.bits)


def _has_weight(layer: LayerRecord) -> bool:
    return layer.weight is not None and layer.weight != UNIT_WEIGHT
