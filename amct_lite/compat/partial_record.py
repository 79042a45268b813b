"""Records on their way: with balance factors only, as a run of `quantize_preprocess` leaves them; with weight factors, as
`quantize_model` does; and completed by a calibration."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from pathlib import Path
from typing import Any

from google.protobuf import text_format

from amct_lite.decide import HALF
from amct_lite.errors import CalibrationError, RecordError
from amct_lite.numerics.balance import SMALLEST
from amct_lite.record import UNIT_WEIGHT, format_record
from amct_lite.record.layer import WEIGHT_TYPES
from amct_lite.record.schema import ScaleOffsetRecord
from amct_lite.types import LayerRecord, QParams, QuantRecord

_UNDECIDED = QParams((1.0,), (0,))
_ACTIVATION_FIELDS = ("scale_d:", "offset_d:")
_WEIGHT_FIELDS = ("scale_w:", "offset_w:")


def format_factors(factors: Mapping[str, tuple[float, ...]]) -> str:
    """The text of a record that holds balance factors only."""
    layers = (LayerRecord(layer, _UNDECIDED, None, balance_factor=values) for layer, values in factors.items())
    return "".join(_without((*_ACTIVATION_FIELDS, *_WEIGHT_FIELDS, "act_type:"), layer) for layer in layers)


def format_weights(
    weights: Mapping[str, QParams | None],
    unfused: Container[str] = (),
    factors: Mapping[str, tuple[float, ...]] | None = None,
    *,
    half: Container[str] = (),
    tensors: Iterable[str] = (),
) -> str:
    """The text of a record without activation factors. None: the factors of both factors of a product are to come.

    unfused: the layers that were kept apart from their normalizations, which the record says. factors: of balanced layers.
    half: the layers that the source computes in float16, which the record says, too.
    tensors: the keys of single tensors, which have no other factors.
    """
    text = ""
    for layer, weight in weights.items():
        balanced = (factors or {}).get(layer, ())
        apart = layer in unfused or None
        entry = LayerRecord(
            *(layer, _UNDECIDED, weight or UNIT_WEIGHT),
            skip_fusion=apart,
            balance_factor=balanced,
            data_type=HALF if layer in half else "",
        )
        text += _without(_ACTIVATION_FIELDS if weight else (*_ACTIVATION_FIELDS, *_WEIGHT_FIELDS), entry)
    for key in tensors:
        text += _without(_ACTIVATION_FIELDS, LayerRecord(key, _UNDECIDED, None, tensor_quantize=True))
    return text


def _without(fields: tuple[str, ...], layer: LayerRecord) -> str:
    lines = format_record(QuantRecord((layer,))).splitlines()
    return "".join(f"{line}\n" for line in lines if not line.strip().startswith(fields))


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
        bits = WEIGHT_TYPES.get(entry.value.wts_type, 8)
        weight = QParams(scales, tuple(entry.value.offset_w), bits) if scales else activations.get((entry.key, 1))
        if (entry.key, 0) in activations:
            value, activation = entry.value, activations[entry.key, 0]
            layers.append(
                LayerRecord(
                    entry.key,
                    activation,
                    weight,
                    skip_fusion=value.skip_fusion if value.HasField("skip_fusion") else None,
                    tensor_quantize=bool(value.is_tensor_quantize),
                    balance_factor=tuple(value.tensor_balance_factor),
                    data_type=value.op_data_type,
                )
            )
    missing = {layer for layer, _ in activations} - {layer.key for layer in layers}
    if missing:
        names = ", ".join(sorted(missing))
        raise RecordError(f"{path} has no entry for {names}, which the model was calibrated for. Call quantize_model again.")
    return format_record(QuantRecord(tuple(layers)))


def undecided(path: Path) -> tuple[str, ...]:
    """The layers whose activation factors are missing in the record at `path`; none when it cannot be read at all."""
    try:
        message: Any = text_format.Parse(path.read_text(encoding="utf-8-sig"), ScaleOffsetRecord())
    except (OSError, UnicodeDecodeError, text_format.ParseError):
        return ()
    return tuple(entry.key for entry in message.record if not entry.value.HasField("scale_d"))


def read_factors(path: Path, layers: Mapping[str, int]) -> dict[str, tuple[float, ...]]:
    """The balance factors of `layers` (name → input channels) in the record at `path`, whatever else it holds.

    Raises CalibrationError when they are missing, RecordError when the record cannot be read, or its factors are too many,
    too few or out of bounds.
    """
    message: Any = ScaleOffsetRecord()
    try:
        if path.is_file():
            text_format.Parse(path.read_text(encoding="utf-8-sig"), message)
    except (OSError, UnicodeDecodeError, text_format.ParseError) as error:
        raise RecordError(f"{path} is no record ({error}). Call quantize_preprocess again.") from error
    found = {entry.key: tuple(entry.value.tensor_balance_factor) for entry in message.record if entry.key in layers}
    if missing := [layer for layer in layers if not found.get(layer)]:
        raise CalibrationError(
            f"{path} has no tensor_balance_factor for {', '.join(missing)}, which the configuration balances. Call "
            f"quantize_preprocess with this record, run the model that it writes, then call quantize_model."
        )
    for layer, factors in found.items():
        if len(factors) != layers[layer]:
            raise RecordError(
                f"{path}: layer {layer!r} has {len(factors)} tensor_balance_factor, must be {layers[layer]}, its input "
                f"channels."
            )
        if outside := [factor for factor in factors if not SMALLEST <= factor <= 1 / SMALLEST]:
            bounds = f"[{SMALLEST:.7g}, {1 / SMALLEST:.7g}]"
            raise RecordError(f"{path}: layer {layer!r}: tensor_balance_factor {outside[0]:.7g} is outside {bounds}.")
    return found
