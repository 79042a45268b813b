"""Models to files and bytes. The same model gives the same bytes, wherever its weights lie.

No weight that lies in a file is read into memory: in a file that is written it is copied from the other one. Writing is plain:
who needs files to appear together writes to temporary ones.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import onnx
import onnx_ir
from google.protobuf.message import EncodeError
from onnx_ir import ExternalTensor, Model, Tensor, TensorProtocol, Value

from amct_lite.errors import ExportError
from amct_lite.ir.bodies import every_graph
from amct_lite.ir.embedded import varint
from amct_lite.ir.sizes import weight_bytes
from amct_lite.ir.stored import StoredTensor, file_of
from amct_lite.scratch import LARGE

EXTERNAL_FROM = 1_500_000_000
"""Bytes of weights from which on a model is written with external data; a protobuf holds less than 2 GiB."""
_EXTERNAL_TENSOR_FROM = 1024
_MOST_BYTES = (1 << 31) - 1
_NOWHERE = "memory"
"""In place of a file: who opens the model passes the weight along."""

Piece = bytes | ExternalTensor
"""A part of a protobuf: bytes, or the tensor whose data stand there."""
Message = TypeVar("Message", onnx.ModelProto, onnx.GraphProto, onnx.TensorProto)


def save(model: Model, path: str | os.PathLike[str]) -> None:
    """Write `path`, and `<path>.data` beside it for a model with more than EXTERNAL_FROM bytes of weights.

    Raises ExportError if the file cannot be written.
    """
    file = Path(path)
    try:
        if needs_external_data(model):
            data = f"{file.name}.data"
            onnx_ir.save(model, file, format="protobuf", external_data=data, size_threshold_bytes=_EXTERNAL_TENSOR_FROM)
            return
        pieces = _pieces(model)
        with file.open("wb") as out:
            for piece in pieces:
                if isinstance(piece, bytes):
                    out.write(piece)
                else:
                    piece.tofile(out)
    except OSError as error:
        raise ExportError(
            f"{file} cannot be written: {error.strerror or error}. Make room there, or choose another place."
        ) from error


def to_bytes(model: Model) -> bytes:
    """The model in one piece. Raises ExportError from 2 GiB on: `save` such a model."""
    return b"".join(piece if isinstance(piece, bytes) else piece.tobytes() for piece in _pieces(model))


@dataclass(frozen=True)
class Attached:
    """graph: the model as bytes, without its large weights. folder: from where these tell the way to those in files.
    weights: those in memory, by name. Valid as long as the model is."""

    graph: bytes
    folder: str
    weights: Mapping[str, TensorProtocol]


def attached(model: Model, *, in_memory: bool = True) -> Attached:
    """What somebody who runs `model` needs, without a copy of any large weight. in_memory: False for another process; weights
    that are in no file become part of the bytes then."""
    initializers = _initializers(model)
    root = next((file_of(t).anchor for _, t in initializers if isinstance(t, ExternalTensor)), os.path.abspath(os.sep))
    weights: dict[str, TensorProtocol] = {}

    def placed(value: Value, tensor: TensorProtocol) -> TensorProtocol:
        if type(tensor) is Tensor and tensor.nbytes < _EXTERNAL_TENSOR_FROM:
            return tensor  # as most are: to ask for its kind takes as long as all else
        tensor = tensor.aligned() if isinstance(tensor, StoredTensor) else tensor
        # What nobody reads ONNX Runtime drops before it looks for what was passed along.
        movable = in_memory and value.graph is model.graph and tensor.dtype.bitwidth >= 8 and bool(value.uses())
        if isinstance(tensor, ExternalTensor) and tensor.nbytes >= LARGE and file_of(tensor).anchor == root:
            location, offset, length = file_of(tensor).relative_to(root).as_posix(), tensor.offset, tensor.length
        elif movable and tensor.nbytes >= _EXTERNAL_TENSOR_FROM:
            weights[str(value.name)] = tensor
            location, offset, length = _NOWHERE, None, tensor.nbytes
        else:
            return _read_in(tensor)
        shape = onnx_ir.Shape(tensor.shape.numpy())
        return ExternalTensor(location, offset, length, tensor.dtype, shape=shape, name=tensor.name or "", base_dir=root)

    return Attached(_serialized(_proto(model, initializers, placed)), root, weights)


def needs_external_data(model: Model) -> bool:
    """Whether the weights of `model` are too large for one file."""
    return weight_bytes(model) > EXTERNAL_FROM


def _pieces(model: Model) -> list[Piece]:
    """What `SerializeToString(deterministic=True)` gives, in which large tensors of the main graph stand for themselves.

    A protobuf writes its fields in the order of their numbers, a message as its tag, its length and its content.
    """
    large: dict[str, ExternalTensor] = {}

    def shortened(value: Value, tensor: TensorProtocol) -> TensorProtocol:
        if not isinstance(tensor, ExternalTensor) or tensor.nbytes < LARGE or value.graph is not model.graph:
            return _read_in(tensor)
        large[str(value.name)] = tensor
        return tensor

    proto = _proto(model, _initializers(model), shortened)
    if not large:
        return [_serialized(proto)]
    tensors: list[Piece] = []
    for tensor in proto.graph.initializer:
        tensors += _message(onnx.GraphProto, "initializer", _tensor(tensor, large.get(tensor.name)))
    front, behind = _around(proto.graph, "initializer")
    graph = [front, *tensors, behind]
    front, behind = _around(proto, "graph")
    pieces = [front, *_message(onnx.ModelProto, "graph", graph), behind]
    if _size(pieces) > _MOST_BYTES:
        raise ExportError(f"the model has {_size(pieces)} bytes, one protobuf holds 2 GiB. Save it to a file instead.")
    return pieces


def _tensor(proto: onnx.TensorProto, data: ExternalTensor | None) -> list[Piece]:
    """data: what stands in place of where the proto says that they lie."""
    if data is None:
        return [_serialized(proto)]
    proto.ClearField("data_location")
    proto.ClearField("external_data")
    front, behind = _around(proto, "raw_data")
    return [front, *_message(onnx.TensorProto, "raw_data", [data]), behind]


def _around(message: Message, name: str) -> tuple[bytes, bytes]:
    """The fields of `message` that are written before the one called `name`, which it loses, and those behind it."""
    number = message.DESCRIPTOR.fields_by_name[name].number
    message.ClearField(name)
    front, behind = type(message)(), type(message)()
    front.CopyFrom(message)
    behind.CopyFrom(message)
    for field, _ in message.ListFields():
        if field.number > number:
            front.ClearField(field.name)
        if field.number < number:
            behind.ClearField(field.name)
    return _serialized(front), _serialized(behind)


def _message(of: type[Message], name: str, content: list[Piece]) -> list[Piece]:
    """`content` as the field `name`: its number and the wire type 2, which is for what has a length, and that length."""
    return [varint(of.DESCRIPTOR.fields_by_name[name].number << 3 | 2) + varint(_size(content)), *content]


def _size(pieces: list[Piece]) -> int:
    return sum(len(piece) if isinstance(piece, bytes) else piece.nbytes for piece in pieces)


def _serialized(proto: onnx.ModelProto | onnx.GraphProto | onnx.TensorProto) -> bytes:
    try:
        return proto.SerializeToString(deterministic=True)
    except (ValueError, EncodeError) as error:
        raise ExportError(f"the model does not fit into one protobuf ({error}). Save it to a file instead.") from error


def _read_in(tensor: TensorProtocol) -> TensorProtocol:
    """A tensor in a file as one in memory. (Attributes never are in files here.)"""
    return Tensor(tensor.numpy(), dtype=tensor.dtype, name=tensor.name) if isinstance(tensor, ExternalTensor) else tensor


def _initializers(model: Model) -> list[tuple[Value, TensorProtocol]]:
    values = (value for graph in every_graph(model) for value in graph.initializers.values())
    return [(value, value.const_value) for value in values if value.const_value is not None]


def _proto(
    model: Model,
    initializers: Iterable[tuple[Value, TensorProtocol]],
    change: Callable[[Value, TensorProtocol], TensorProtocol],
) -> onnx.ModelProto:
    """`model`, which stays as it is, with what `change` makes of the tensor of each of its `initializers`."""
    changed: list[tuple[Value, TensorProtocol]] = []
    try:
        for value, tensor in initializers:
            if (other := change(value, tensor)) is not tensor:
                changed.append((value, tensor))
                value.const_value = other
        proto: onnx.ModelProto = onnx_ir.to_proto(model)
    finally:
        for value, tensor in changed:
            value.const_value = tensor
    return proto
