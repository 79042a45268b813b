"""Large weights in the middle of a model's own file: found, but not read.

A message of a protobuf is a sequence of fields, each a key (its number and how it is written) and its value: a varint, four or
eight bytes, or a length and so many bytes, which may be a message again.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from amct_lite.scratch import LARGE

FROM = 1 << 28
"""Bytes of a file from which on its weights stay there. Smaller ones are faster read than mapped."""
_VARINT, _EIGHT, _LENGTH, _FOUR = 0, 1, 2, 5
_FIXED = {_EIGHT: 8, _FOUR: 4}
Place = tuple[int, int]
"""Where data begin, and how many bytes they are."""
Found = dict[int, Place]


@dataclass(frozen=True)
class Extent:
    """Where the data of a tensor are: in the file of this name, in bytes."""

    location: str
    offset: int
    length: int


InFile = Mapping[int, Extent]
"""The number of an initializer of the main graph → where its data were left."""


def parse(file: Path) -> tuple[onnx.ModelProto, InFile]:
    """The model in `file` without the data of its large initializers, and where these are.

    Raises DecodeError for what is no protobuf, OSError for what cannot be read.
    """
    found: Found = {}
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        data = memoryview(mapped)
        try:
            short = _without_data(data, found)
        finally:
            data.release()
    proto = onnx.ModelProto()
    proto.ParseFromString(short)
    return proto, {number: Extent(file.name, offset, length) for number, (offset, length) in found.items()}


def refer(proto: onnx.ModelProto, in_file: InFile) -> None:
    """Let the tensors of `proto` say where their data are."""
    for number, extent in in_file.items():
        tensor = proto.graph.initializer[number]
        tensor.data_location = onnx.TensorProto.EXTERNAL
        del tensor.external_data[:]
        for key, value in asdict(extent).items():
            tensor.external_data.add(key=key, value=str(value))


def _without_data(data: memoryview, found: Found) -> bytes:
    graph_field = onnx.ModelProto.GRAPH_FIELD_NUMBER
    return b"".join(
        _written(graph_field, _graph(data, start, end, found)) if number == graph_field else bytes(data[key:end])
        for number, key, start, end in _fields(data, 0, len(data))
    )


def _graph(data: memoryview, start: int, end: int, found: Found) -> bytes:
    field = onnx.GraphProto.INITIALIZER_FIELD_NUMBER
    pieces: list[bytes] = []
    count = 0
    for number, key, begin, stop in _fields(data, start, end):
        if number == field and stop - begin >= LARGE:
            content, place = _tensor(data, begin, stop)
            pieces.append(_written(field, content))
            if place is not None:
                found[count] = place
        else:
            pieces.append(bytes(data[key:stop]))
        count += number == field
    return b"".join(pieces)


def _tensor(data: memoryview, start: int, end: int) -> tuple[bytes, Place | None]:
    """Without its raw data, and where these are."""
    pieces: list[bytes] = []
    place: Place | None = None
    for number, key, begin, stop in _fields(data, start, end):
        if number == onnx.TensorProto.RAW_DATA_FIELD_NUMBER and stop - begin >= LARGE and place is None:
            place = (begin, stop - begin)
        else:
            pieces.append(bytes(data[key:stop]))
    return b"".join(pieces), place


def _fields(data: memoryview, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """(number, where its key begins, where its value begins and ends) of each field between `start` and `end`."""
    at = start
    while at < end:
        begin = at
        key, at = _read_varint(data, at, end)
        kind, size = key & 7, 0
        if kind == _LENGTH:
            size, at = _read_varint(data, at, end)
        elif kind in _FIXED:
            size = _FIXED[kind]
        elif kind == _VARINT:
            size = _read_varint(data, at, end)[1] - at
        else:
            raise DecodeError(f"there is no field of kind {kind}")
        if at + size > end:
            raise DecodeError("a field ends behind the message that it is in")
        yield key >> 3, begin, at, at + size
        at += size


def _read_varint(data: memoryview, at: int, end: int) -> tuple[int, int]:
    """The number, and where it ends."""
    number = 0
    for place in range(10):
        if at + place >= end:
            break
        byte = data[at + place]
        number |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return number, at + place + 1
    raise DecodeError("a number without an end")


def _written(field: int, content: bytes) -> bytes:
    return varint(field << 3 | _LENGTH) + varint(len(content)) + content


def varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first; all but the last with the highest bit set."""
    groups = []
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*groups, number])
