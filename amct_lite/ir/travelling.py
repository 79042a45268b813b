"""A model on its way to a worker.

Who sees the files of this process reads the weights there, as this process does; only the graph is sent. Who does not gets the
whole model as bytes, or, where it is too large for these, by a path in a folder that is to be shared.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from onnx_ir import ExternalTensor, Model

from amct_lite import scratch
from amct_lite.errors import CalibrationError
from amct_lite.ir.bodies import every_graph
from amct_lite.ir.io import clone, load, load_bytes
from amct_lite.ir.stored import tensor_of
from amct_lite.ir.writing import Attached, attached, needs_external_data, save, to_bytes
from amct_lite.scratch import LARGE

Sent = bytes | Path | Attached


@contextmanager
def packed(model: Model, *, same_files: bool) -> Iterator[Sent]:
    """What to send, good inside of the context. same_files: whether who gets it sees the files of this process."""
    if same_files:
        lean = _in_files(model)
        yield attached(lean, in_memory=False)
    elif needs_external_data(model):
        with scratch.folder() as folder:
            path = folder / "model.onnx"
            save(model, path)
            yield path
    else:
        yield to_bytes(model)


def _in_files(model: Model) -> Model:
    """`model` with each large weight in a file."""
    result = clone(model)
    for graph in every_graph(result):
        for value in graph.initializers.values():
            tensor = value.const_value
            if tensor is not None and tensor.nbytes >= LARGE and not isinstance(tensor, ExternalTensor):
                value.const_value = tensor_of(tensor.numpy(), tensor.dtype, tensor.name)
    return result


def require_seen(sent: Sent) -> None:
    """Raises CalibrationError in a worker that has no such path."""
    if isinstance(sent, Path) and not sent.is_file():
        raise CalibrationError(
            f"this worker does not see {sent}: a model that is too large to be sent, or is given by its path, is read where it "
            "lies. Give a path that all workers see, and let TMPDIR name a folder that they share."
        )


def unpacked(sent: Sent) -> Model:
    """The model that was sent. Raises CalibrationError as `require_seen`."""
    require_seen(sent)
    if isinstance(sent, Attached):
        return load_bytes(sent.graph, Path(sent.folder))
    return load_bytes(sent) if isinstance(sent, bytes) else load(sent).model
