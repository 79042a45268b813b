"""Records as protobuf text: reading with every check that needs no model, and writing the way AMCT does.

Reads both flavours. Writing is deterministic: the same record gives the same bytes, and floats are written with the
fewest digits that give the same float32 back. Files are written by the caller.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import text_format

from amct_lite.errors import RecordError
from amct_lite.files import file_meant
from amct_lite.record.layer import UNIT_WEIGHT, LayerReader, RecurrentRecord
from amct_lite.record.lines import entry_lines
from amct_lite.record.schema import FIELD_NAMES, ScaleOffsetRecord
from amct_lite.registry import did_you_mean
from amct_lite.types import LayerRecord, QParams, QuantRecord

_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"})


def read_record(path: str | os.PathLike[str]) -> QuantRecord:
    """The record in the file at `path`. Raises RecordError with everything that is wrong with it, line by line."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")  # Windows editors put a mark in front
    except OSError as error:
        raise RecordError(
            f"cannot read the record {os.fspath(path)}: {error.strerror or error}{file_meant(path, 'record.txt')}. "
            f"`amct-lite calibrate` writes it as <prefix>_record.txt."
        ) from error
    except UnicodeDecodeError as error:
        raise RecordError(
            f"{os.fspath(path)} is no record: it is not UTF-8 text (byte {error.start}). "
            f"A record is a protobuf text file that starts with `record {{`."
        ) from error
    return parse_record(text, source=os.fspath(path))


def parse_record(text: str, source: str | None = None) -> QuantRecord:
    """The record that `text` holds. `source`: its file, for messages. Raises RecordError like read_record."""
    message = _parse_message(text, source)
    problems: list[str] = []
    layers: list[LayerRecord] = []
    first_lines: dict[str, int] = {}
    for entry, lines in zip(message.record, entry_lines(text), strict=True):
        reader = LayerReader(entry, lines)
        layer = reader.read()
        if layer is not None:
            layers.append(layer)
        if reader.key in first_lines:
            reader.problems.append((reader.line, f"line {first_lines[reader.key]} has an entry for it already: keep one"))
        elif reader.key:
            first_lines[reader.key] = reader.line
        name = f"layer {reader.key!r}" if reader.key else "an entry"
        problems += [f"{_place(source, line)}: {name}: {sentence}." for line, sentence in sorted(reader.problems)]
    if not message.record:
        problems.append(f"{source or 'the record'} is empty: it has no `record {{ … }}`. Was anything quantized?")
    if problems:
        raise RecordError(listed(problems, f"{source or 'the record'} cannot be used"), problems)
    return QuantRecord(tuple(layers), source)


def record_digest(record: QuantRecord) -> str:
    """SHA-256 of the record's text: equal for records that say the same."""
    return hashlib.sha256(format_record(record).encode()).hexdigest()


def format_record(record: QuantRecord) -> str:
    """The text of `record`, layers in their order, in the layout of AMCT's own files."""
    return _formatted(record.layers)


@functools.lru_cache(maxsize=1)
def _formatted(layers: tuple[LayerRecord, ...]) -> str:
    """Kept: a run asks for the digest of its record, and then for the text."""
    return "".join(map(_entry, layers))


def listed(problems: Sequence[str], headline: str) -> str:
    """One problem as it is; several below a headline that counts them."""
    if len(problems) == 1:
        return problems[0]
    return "\n  ".join([f"{headline}, {len(problems)} problems:", *problems])


def _parse_message(text: str, source: str | None) -> Any:
    """The ScaleOffsetRecord of `text`; its fields have no static types."""
    try:
        return text_format.Parse(text, ScaleOffsetRecord())
    except text_format.ParseError as error:
        line = error.GetLine() or 1
        reason = re.sub(r"^\d+:\d+ : ", "", str(error)).rstrip(".")
        unknown = re.search(r'has no field named "([^"]*)"', reason)
        if unknown:
            name = unknown.group(1)
            reason = f"a record has no field {name!r}{did_you_mean(name, FIELD_NAMES)}"
        problem = f"{_place(source, line)}: {reason}."
        raise RecordError(f"{problem} Nothing after this place was read.", [problem]) from error


def _place(source: str | None, line: int) -> str:
    return f"{source}:{line}" if source else f"line {line}"


def _entry(layer: LayerRecord) -> str:
    """One `record { … }`. A layer has thousands of scales: a field is written with all its values at once."""
    fields = (f"    {name}: " + f"\n    {name}: ".join(values) + "\n" for name, values in _fields(layer) if values)
    return f"record {{\n  key: {_text(layer.key)}\n  value {{\n{''.join(fields)}  }}\n}}\n"


def _fields(layer: LayerRecord) -> Iterator[tuple[str, list[str]]]:
    """Each field with the texts of its values, in the order of their numbers."""
    weight = layer.weight
    if weight is None and not layer.tensor_quantize:
        weight = UNIT_WEIGHT
    yield from _pair("d", layer.activation)
    if weight is not None:
        yield from _pair("w", weight)
    yield "shift_bit", [str(shift) for shift in layer.shift_bit]
    if layer.skip_fusion is not None:
        yield "skip_fusion", [_boolean(layer.skip_fusion)]
    if layer.tensor_quantize:
        yield "is_tensor_quantize", [_boolean(True)]
    yield "tensor_balance_factor", _numbers(layer.balance_factor)
    if layer.data_type:
        yield "op_data_type", [_text(layer.data_type)]
    if layer.has_data:
        yield "act_type", [f'"INT{layer.activation.bits}"']
    if weight is not None and (weight != UNIT_WEIGHT or not layer.has_data):  # AMCT leaves it out for an op without weight
        yield "wts_type", [f'"INT{weight.bits}"']
    if isinstance(layer, RecurrentRecord):
        yield from _pair("h", layer.hidden) if layer.hidden else ()
        yield from _pair("r", layer.recurrence) if layer.recurrence else ()


def _pair(letter: str, params: QParams) -> Iterator[tuple[str, list[str]]]:
    yield f"scale_{letter}", _numbers(params.scale)
    yield f"offset_{letter}", [str(zero_point) for zero_point in params.zero_point]


def _numbers(values: Sequence[float]) -> list[str]:
    """Fewest digits that give the same float32."""
    return list(map(str, np.array(values, dtype=np.float32)))


def _boolean(value: bool) -> str:
    return "true" if value else "false"


def _text(value: str) -> str:
    """A quoted protobuf string; control characters other than \\n \\r \\t as octal."""
    escaped = value.translate(_ESCAPES)
    return '"' + "".join(c if c >= " " and c != "\x7f" else f"\\{ord(c):03o}" for c in escaped) + '"'
