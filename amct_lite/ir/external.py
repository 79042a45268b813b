"""Weights in files of their own: only files inside the model's folder are read, and only if they are long enough.

A model file is data from elsewhere: a location such as `../../etc/passwd`, or a link that leads there, must not end up
in a model that its user hands on.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import onnx
import onnx_ir
from onnx.external_data_helper import load_external_data_for_tensor, uses_external_data

from amct_lite.errors import UnsupportedModelError
from amct_lite.ir.admission import subgraphs

_SHAPES = frozenset({onnx.TensorProto.INT64, onnx.TensorProto.INT32})
_MOST_SHAPES = 1024
"""Bytes. Integers up to this are read in: pads, shapes and axes are values that shape inference has to see."""


def check_external(proto: onnx.ModelProto, file: Path | None) -> None:
    """Check every external tensor; those that are attributes or may be shapes are read in, initializers stay where they are.

    file : where `proto` was read from, None if it came as bytes and has no folder.
    Raises UnsupportedModelError for a location outside of the folder, and for a file that is missing or too short.
    """
    functions = (node for function in proto.functions for node in function.node)
    for tensor in _initializers(proto.graph):
        if uses_external_data(tensor):
            _check(tensor, file)
            if tensor.data_type in _SHAPES and _bytes_of(tensor, tensor.name) <= _MOST_SHAPES:
                _read_in(tensor, file)
    for tensor in (*_attributes(proto.graph.node), *_attributes(functions)):
        if uses_external_data(tensor):
            _check(tensor, file)
            _read_in(tensor, file)


def _read_in(tensor: onnx.TensorProto, file: Path | None) -> None:
    assert file is not None, "checked before"
    load_external_data_for_tensor(tensor, os.path.abspath(file.parent))
    tensor.ClearField("data_location")  # written out, even the default would make other bytes of the same model
    del tensor.external_data[:]


def _initializers(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        for subgraph in subgraphs(node):
            yield from _initializers(subgraph)


def _attributes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
        for subgraph in subgraphs(node):
            yield from _attributes(subgraph.node)


def _check(tensor: onnx.TensorProto, file: Path | None) -> None:
    if file is None:
        raise UnsupportedModelError(
            f"the tensor {tensor.name!r} lies in an external file, but the model came as bytes and has no folder. "
            f"Load it from its path."
        )
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    where = f"{file}: the data of {tensor.name!r} lie in {location!r}"
    _check_containment(location, file.parent, where)
    data = file.parent / location
    try:
        size = data.stat().st_size
    except OSError:
        linked = f" The model is a link; if its data lie beside {file.resolve()}, give that path." if file.is_symlink() else ""
        raise UnsupportedModelError(f"{where}, which does not exist. Put the data file beside the model.{linked}") from None
    if not data.is_file():
        raise UnsupportedModelError(f"{where}, which is not a file. Export the model again.")
    if data.stat().st_nlink > 1:
        raise UnsupportedModelError(
            f"{where}, which has several hard links and may belong to somebody else. Copy the file (cp) and put the copy there."
        )
    _check_extent(tensor, entries, size, where)


def _check_containment(location: str, folder: Path, where: str) -> None:
    if not location or os.path.isabs(location) or ".." in Path(location.replace("\\", "/")).parts or ":" in location[1:2]:
        raise UnsupportedModelError(
            f"{where}, outside of the model's folder. Only files inside it are read; put the data file there and export again."
        )
    if not (folder / location).resolve().is_relative_to(folder.resolve()):
        raise UnsupportedModelError(
            f"{where}, a link that leads outside of the model's folder. Copy the model and its data into one folder."
        )


def _check_extent(tensor: onnx.TensorProto, entries: dict[str, str], size: int, where: str) -> None:
    needed = _bytes_of(tensor, where)
    try:
        offset, length = int(entries.get("offset") or 0), int(entries.get("length") or needed)
    except ValueError:
        raise UnsupportedModelError(f"{where} at an offset or length that is not a number. Export the model again.") from None
    if length != needed:
        raise UnsupportedModelError(
            f"{where} with a length of {length} bytes, but its shape and type need {needed}. Export the model again."
        )
    if offset < 0 or offset + length > size:
        raise UnsupportedModelError(
            f"{where} from byte {offset} to {offset + length}, but the file has {size} bytes. Fetch the data file again."
        )


def _bytes_of(tensor: onnx.TensorProto, where: str) -> int:
    if tensor.data_type in {onnx.TensorProto.UNDEFINED, onnx.TensorProto.STRING} or any(dim < 0 for dim in tensor.dims):
        raise UnsupportedModelError(f"{where} with a type or shape that external data cannot have. Export the model again.")
    return math.ceil(onnx_ir.DataType(tensor.data_type).itemsize * math.prod(tensor.dims))
