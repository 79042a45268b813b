"""Models from and to files and bytes.

What is loaded has been checked (`admission`, `external`), sorted and named; weights in external files stay there, mapped only
while somebody reads them. Writing is plain: who needs files to appear together writes to temporary ones.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

import onnx
import onnx_ir
from google.protobuf.message import DecodeError, EncodeError
from onnx_ir import ExternalTensor, Graph, Model, Tensor, TensorProtocol, Value

from amct_lite.errors import ExportError, UnsupportedModelError
from amct_lite.ir.admission import admit, is_sorted
from amct_lite.ir.external import check_external
from amct_lite.ir.naming import name_nodes
from amct_lite.ir.payload import check_payload
from amct_lite.ir.sizes import weight_bytes
from amct_lite.ir.slim import slim_proto
from amct_lite.ir.stored import LARGE, file_of, stored, tensor_of

EXTERNAL_FROM = 1_500_000_000
"""Bytes of weights from which on a model is written with external data; a protobuf holds less than 2 GiB."""
_EXTERNAL_TENSOR_FROM = 1024


@dataclass(frozen=True)
class LoadedModel:
    """path: None for a model that came as bytes. notes: what was mended on the way in, a sentence each."""

    model: Model
    path: Path | None
    notes: tuple[str, ...]


def load(path: str | os.PathLike[str]) -> LoadedModel:
    """Read and check an ONNX file.

    Raises UnsupportedModelError, which says what to do, for a file that is missing, not ONNX, not valid, newer than the
    installed onnx, or that refers to data outside of its own folder.
    """
    file = Path(path)
    proto = _parse(_read(file), str(file))
    check_external(proto, file)
    return _deserialize(proto, file)


def load_bytes(data: bytes) -> Model:
    """A model from the bytes of an ONNX file, checked like a file; it cannot have external data."""
    proto = _parse(data, "the model")
    check_external(proto, None)
    return _deserialize(proto, None).model


def from_text(text: str) -> Model:
    """A model from the text form of ONNX (`onnx.parser`); its nodes are named as `load` names them."""
    model = onnx_ir.from_onnx_text(text)
    name_nodes(model)
    return model


def clone(model: Model) -> Model:
    """A copy that can be edited freely; the tensors, which nobody writes to, are shared."""
    return model.clone()


def save(model: Model, path: str | os.PathLike[str]) -> None:
    """Write `path`, and `<path>.data` beside it for a model with more than EXTERNAL_FROM bytes of weights.

    The same model gives the same bytes. Raises ExportError if the file cannot be written.
    """
    file = Path(path)
    try:
        if needs_external_data(model):
            _save_external(model, file)
        else:
            file.write_bytes(to_bytes(model))
    except OSError as error:
        raise ExportError(f"{file} cannot be written: {error.strerror or error}.") from error


def to_bytes(model: Model) -> bytes:
    """The model in one piece, external tensors read in. Raises ExportError from 2 GiB on: `save` such a model."""
    with _with_tensors(model, _read_in):
        return _serialized(model)


@contextlib.contextmanager
def attached(model: Model) -> Iterator[tuple[bytes, str]]:
    """The model without the large weights that lie in files, and the folder from which its bytes tell the way to these.

    Inside of the context no such file goes away. Large weights in memory are part of the bytes as long as these hold them.
    """
    tensors = [tensor for _, tensor in _initializers(model)]
    in_memory = sum(tensor.nbytes for tensor in tensors if not isinstance(tensor, ExternalTensor))
    root = next((file_of(tensor).anchor for tensor in tensors if _is_large_file(tensor)), os.path.abspath(os.sep))

    made: list[TensorProtocol] = []  # whose files go with them

    def placed(tensor: TensorProtocol) -> TensorProtocol:
        if in_memory > EXTERNAL_FROM and tensor.nbytes >= LARGE and not isinstance(tensor, ExternalTensor):
            tensor = tensor_of(tensor.numpy(), tensor.dtype, tensor.name)
            made.append(tensor)
        if not _is_large_file(tensor) or file_of(tensor).anchor != root:
            return _read_in(tensor)
        location = file_of(tensor).relative_to(root).as_posix()
        return ExternalTensor(
            location, tensor.offset, tensor.length, tensor.dtype, shape=tensor.shape, name=tensor.name or "", base_dir=root
        )

    with _with_tensors(model, placed):
        yield _serialized(model), root


def _is_large_file(tensor: TensorProtocol) -> TypeGuard[ExternalTensor]:
    return isinstance(tensor, ExternalTensor) and tensor.nbytes >= LARGE


def _serialized(model: Model) -> bytes:
    try:
        return onnx_ir.to_proto(model).SerializeToString(deterministic=True)
    except (ValueError, EncodeError) as error:
        raise ExportError(f"the model does not fit into one protobuf ({error}). Save it to a file instead.") from error


def needs_external_data(model: Model) -> bool:
    """Whether the weights of `model` are too large for one file."""
    return weight_bytes(model) > EXTERNAL_FROM


def _initializers(model: Model) -> Iterator[tuple[Value, TensorProtocol]]:
    for graph in model.graphs():
        for value in graph.initializers.values():
            if value.const_value is not None:
                yield value, value.const_value


def _read_in(tensor: TensorProtocol) -> TensorProtocol:
    """A tensor in a file as one in memory. (Attributes never are in files here.)"""
    return Tensor(tensor.numpy(), dtype=tensor.dtype, name=tensor.name) if isinstance(tensor, ExternalTensor) else tensor


@contextlib.contextmanager
def _with_tensors(model: Model, change: Callable[[TensorProtocol], TensorProtocol]) -> Iterator[None]:
    """Each initializer has what `change` makes of its tensor, inside of the context."""
    changed: list[tuple[Value, TensorProtocol]] = []
    try:
        for value, tensor in _initializers(model):
            if (other := change(tensor)) is not tensor:
                changed.append((value, tensor))
                value.const_value = other
        yield
    finally:
        for value, tensor in changed:
            value.const_value = tensor


def _save_external(model: Model, file: Path) -> None:
    onnx_ir.save(model, file, format="protobuf", external_data=f"{file.name}.data", size_threshold_bytes=_EXTERNAL_TENSOR_FROM)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        raise UnsupportedModelError(f"{file} does not exist. Check the path of the model.") from None
    except IsADirectoryError:
        found = sorted(path.name for path in file.glob("*.onnx"))
        hint = f" It holds {', '.join(found[:5])}." if found else ""
        raise UnsupportedModelError(f"{file} is a directory, not an ONNX file.{hint} Give the path of the file.") from None
    except OSError as error:
        raise UnsupportedModelError(f"{file} cannot be read: {error.strerror or error}.") from error


def _parse(data: bytes, what: str) -> onnx.ModelProto:
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(data)
    except DecodeError as error:
        raise UnsupportedModelError(
            f"{what} is not an ONNX model: it does not parse as protobuf ({error}). It may be another format, an "
            f"unfinished download, or a Git LFS pointer; export or fetch it again."
        ) from error
    if not proto.HasField("graph") or not proto.ir_version:
        raise UnsupportedModelError(f"{what} is not an ONNX model: it holds no graph. Give the .onnx file of the model.")
    return proto


def _deserialize(proto: onnx.ModelProto, file: Path | None) -> LoadedModel:
    what = "the model" if file is None else str(file)
    notes = list(admit(proto, what))
    check_payload(proto, what)
    ordered = is_sorted(proto.graph)
    try:
        model = onnx_ir.from_proto(proto)
        slim_proto(model)  # names that are not text show themselves only when a model is written
    except Exception as error:  # whatever the file made onnx-ir stumble over, it is the file's
        raise UnsupportedModelError(f"{what} is not a valid ONNX model: {_cause(error)}. Export it again.") from error
    if file is not None:
        onnx_ir.external_data.set_base_dir(model.graph, os.path.abspath(file.parent))
        for value, tensor in _initializers(model):
            if isinstance(tensor, ExternalTensor):
                value.const_value = stored(tensor)
    if not ordered:
        _sort(model.graph, what)
        notes.append("the nodes were not in the order of execution and have been sorted")
    notes += _make_constant(model)
    notes += name_nodes(model)
    return LoadedModel(model, file, tuple(notes))


def _cause(error: BaseException) -> str:
    """The message of the first error of a chain: the outer ones carry whole protobufs."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _sort(graph: Graph, what: str) -> None:
    try:
        graph.sort()
    except ValueError as error:
        raise UnsupportedModelError(
            f"{what} has a cycle: some nodes wait for each other's results. Export it again."
        ) from error


def _make_constant(model: Model) -> tuple[str, ...]:
    """Take initializers out of the inputs: what has a value in the file is a constant here."""
    graph = model.graph
    overridable = [value for value in graph.inputs if value.is_initializer()]
    if not overridable:
        return ()
    kept = [value for value in graph.inputs if not value.is_initializer()]
    graph.inputs.clear()
    graph.inputs.extend(kept)
    model.ir_version = max(model.ir_version, 4)  # before, every initializer had to be an input
    return (f"initializers that are also listed as graph inputs are taken as constants ({len(overridable)})",)
