"""Models from files and bytes: checked (`admission`, `external`), sorted and named.

Weights in external files stay there, mapped only while somebody reads them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx_ir
from google.protobuf.message import DecodeError
from onnx_ir import ExternalTensor, Graph, Model

from amct_lite.errors import UnsupportedModelError
from amct_lite.files import file_meant
from amct_lite.ir import embedded
from amct_lite.ir.admission import admit, is_sorted
from amct_lite.ir.bodies import every_graph
from amct_lite.ir.embedded import InFile, refer
from amct_lite.ir.external import check_external
from amct_lite.ir.memory import detach
from amct_lite.ir.naming import name_nodes
from amct_lite.ir.payload import check_payload
from amct_lite.ir.slim import slim_proto
from amct_lite.ir.stored import stored

_BEGINNING = 1000


@dataclass(frozen=True)
class LoadedModel:
    """path: None for a model that came as bytes. notes: what was mended on the way in, a sentence each."""

    model: Model
    path: Path | None
    notes: tuple[str, ...]


def load(path: str | os.PathLike[str]) -> LoadedModel:
    """Read and check an ONNX file.

    Raises UnsupportedModelError, which says what to do, for a file that is missing, not ONNX, not valid, newer than the
    installed onnx, or that refers to data outside of its own folder, and for what is no path.
    """
    if not isinstance(path, str | os.PathLike):
        raise UnsupportedModelError(
            f"a model of type {type(path).__name__} cannot be taken. Give the path of an ONNX file, or an onnx_ir.Model: "
            "onnx_ir.from_proto(model) makes one of a ModelProto."
        )
    file = Path(path)
    proto, in_file = _read(file)
    check_external(proto, file)
    model, notes = _deserialize(proto, str(file), file.parent, in_file)
    return LoadedModel(model, file, notes)


def load_bytes(data: bytes, folder: Path | None = None) -> Model:
    """A model from the bytes of an ONNX file, checked like a file. It cannot have external data but in `folder`, where this
    program has put them."""
    proto = _parse(data, "the model")
    if folder is None:
        check_external(proto, None)
    return _deserialize(proto, "the model", folder, {})[0]


def from_text(text: str) -> Model:
    """A model from the text form of ONNX (`onnx.parser`); its nodes are named as `load` names them."""
    model = onnx_ir.from_onnx_text(text)
    name_nodes(model)
    return model


def clone(model: Model) -> Model:
    """A copy that can be edited freely; the tensors, which nobody writes to, are shared."""
    return model.clone()


def _read(file: Path) -> tuple[onnx.ModelProto, InFile]:
    """The model, and where the data are that were left in the file."""
    try:
        if file.stat().st_size >= embedded.FROM:
            with _parsing(str(file)):
                proto, in_file = embedded.parse(file)
            return _checked(proto, str(file)), in_file
        return _parse(file.read_bytes(), str(file)), {}
    except FileNotFoundError:
        meant = file_meant(file, "ort_model.onnx", "deploy_model.onnx", "fake_quant_model.onnx")
        raise UnsupportedModelError(f"{file} does not exist{meant}. Check the path of the model.") from None
    except IsADirectoryError:
        found = sorted(path.name for path in file.glob("*.onnx"))
        hint = f" It holds {', '.join(found[:5])}." if found else ""
        raise UnsupportedModelError(f"{file} is a directory, not an ONNX file.{hint} Give the path of the file.") from None
    except OSError as error:
        raise UnsupportedModelError(f"{file} cannot be read: {error.strerror or error}.") from error


def _parse(data: bytes, what: str) -> onnx.ModelProto:
    proto = onnx.ModelProto()
    with _parsing(what, data[:_BEGINNING]):
        proto.ParseFromString(data)
    return _checked(proto, what)


@contextmanager
def _parsing(what: str, beginning: bytes = b"") -> Iterator[None]:
    """beginning: of the file, where it is known."""
    try:
        yield
    except DecodeError as error:
        if instead := _text_in(beginning):
            raise UnsupportedModelError(f"{what} is not an ONNX model, but {instead}.") from error
        raise UnsupportedModelError(
            f"{what} is not an ONNX model: it does not parse as protobuf ({error}). It may be another format, the "
            "weights of a model (give the .onnx file beside them), or an unfinished download: fetch again."
        ) from error


def _text_in(beginning: bytes) -> str:
    """What a file that begins so is where it is text, with what to do; empty for all else."""
    if beginning.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS to one: fetch the file itself (git lfs pull)"
    text = beginning.decode(errors="ignore")
    return "text: give the .onnx file of the model" if text and all(c.isprintable() or c.isspace() for c in text) else ""


def _checked(proto: onnx.ModelProto, what: str) -> onnx.ModelProto:
    if not proto.HasField("graph") or not proto.ir_version:
        raise UnsupportedModelError(f"{what} is not an ONNX model: it holds no graph. Give the .onnx file of the model.")
    return proto


def _deserialize(proto: onnx.ModelProto, what: str, folder: Path | None, in_file: InFile) -> tuple[Model, tuple[str, ...]]:
    """With what was mended. folder: where its external data are. in_file: what was not read of the model's own file."""
    notes = list(admit(proto, what))
    check_payload(proto, what, in_file)
    refer(proto, in_file)
    ordered = is_sorted(proto.graph)
    try:
        model = onnx_ir.from_proto(proto)
        _describe_inputs(model, proto)
        detach(model)
        slim_proto(model)  # names that are not text show themselves only when a model is written
    except Exception as error:  # whatever the file made onnx-ir stumble over, it is the file's
        raise UnsupportedModelError(f"{what} is not a valid ONNX model: {_cause(error)}. Export it again.") from error
    if folder is not None:
        onnx_ir.external_data.set_base_dir(model.graph, os.path.abspath(folder))
        for graph in every_graph(model):
            for value in graph.initializers.values():
                if isinstance(value.const_value, ExternalTensor):
                    value.const_value = stored(value.const_value)
    if not ordered:
        _sort(model.graph, what)
        notes.append("the nodes were not in the order of execution and have been sorted")
    notes += _make_constant(model)
    notes += name_nodes(model)
    return model, tuple(notes)


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


def _describe_inputs(model: Model, proto: onnx.ModelProto) -> None:
    """Inputs that are also outputs have the shape of the input: onnx-ir takes that of the output, which may say less."""
    for value, info in zip(model.graph.inputs, proto.graph.input, strict=True):
        if value.is_graph_output():
            onnx_ir.serde.deserialize_value_info_proto(info, value)


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
