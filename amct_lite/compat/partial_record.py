"""Records on their way: with weight factors only, as `quantize_model` leaves them, and completed by a calibration."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from pathlib import Path
from typing import Any

from google.protobuf import text_format

from amct_lite.errors import RecordError
from amct_lite.record import UNIT_WEIGHT, format_record
from amct_lite.record.schema import ScaleOffsetRecord
from amct_lite.types import LayerRecord, QParams, QuantRecord

_UNDECIDED = QParams((1.0,), (0,))
_ACTIVATION_FIELDS = ("scale_d:", "offset_d:")
_WEIGHT_FIELDS = ("scale_w:", "offset_w:")


def format_weights(weights: Mapping[str, QParams | None], unfused: Container[str] = (), tensors: Iterable[str] = ()) -> str:
    """The text of a record without activation factors. None: the factors of both factors of a product are to come.

    unfused: the layers that were kept apart from their normalizations, which the record says. tensors: the keys of single
    tensors, which have no other factors.
    """
    text = []
    for layer, weight in weights.items():
        apart = layer in unfused or None
        entry = format_record(QuantRecord((LayerRecord(layer, _UNDECIDED, weight or UNIT_WEIGHT, skip_fusion=apart),)))
        hidden = _ACTIVATION_FIELDS if weight else (*_ACTIVATION_FIELDS, *_WEIGHT_FIELDS)
        text += [line for line in entry.splitlines() if not line.strip().startswith(hidden)]
    for key in tensors:
        entry = format_record(QuantRecord((LayerRecord(key, _UNDECIDED, None, tensor_quantize=True),)))
        text += [line for line in entry.splitlines() if not line.strip().startswith(_ACTIVATION_FIELDS)]
    return "".join(f"{line}\n" for line in text)


def completed(text: str, path: Path, activations: Mapping[tuple[str, int], QParams]) -> str:
    """The record `text` with the activation factors filled in.

    activations: by (key of the entry, position among its activation inputs). Raises RecordError when a layer is missing.
    """
    try:
        message: Any = text_format.Parse(text, ScaleOffsetRecord())
    except text_format.ParseError as error:
        raise RecordError(f"{path} is no longer a record ({error}). Call quantize_model again.") from error
    layers = []
    for entry in message.record:
        scales = tuple(entry.value.scale_w)
        weight = QParams(scales, tuple(entry.value.offset_w)) if scales else activations.get((entry.key, 1))
        if (entry.key, 0) in activations:
            value, activation = entry.value, activations[entry.key, 0]
            apart = value.skip_fusion if value.HasField("skip_fusion") else None
            alone = bool(value.is_tensor_quantize)
            layers.append(LayerRecord(entry.key, activation, weight, skip_fusion=apart, tensor_quantize=alone))
    missing = {layer for layer, _ in activations} - {layer.key for layer in layers}
    if missing:
        names = ", ".join(sorted(missing))
        raise RecordError(f"{path} has no entry for {names}, which the model was calibrated for. Call quantize_model again.")
    return format_record(QuantRecord(tuple(layers)))


def undecided(path: Path) -> tuple[str, ...]:
    """The layers whose activation factors are missing in the record at `path`; none when it cannot be read at all."""
    try:
        message: Any = text_format.Parse(path.read_text(encoding="utf-8"), ScaleOffsetRecord())
    except (OSError, UnicodeDecodeError, text_format.ParseError):
        return ()
    return tuple(entry.key for entry in message.record if not entry.value.HasField("scale_d"))
