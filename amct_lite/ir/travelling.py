"""A model on its way to a worker: its bytes, or its path where it is too large for these."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from onnx_ir import Model

from amct_lite import scratch
from amct_lite.errors import CalibrationError
from amct_lite.ir.io import load, load_bytes
from amct_lite.ir.writing import needs_external_data, save, to_bytes


@contextmanager
def packed(model: Model) -> Iterator[bytes | Path]:
    """What to send; a path is good inside of the context."""
    with scratch.folder() as folder:
        yield packed_into(model, folder / "model.onnx")


def packed_into(model: Model, path: Path) -> bytes | Path:
    """What to send, for as long as `path` is there, where a model too large for bytes is written."""
    if not needs_external_data(model):
        return to_bytes(model)
    save(model, path)
    return path


def require_seen(sent: bytes | Path) -> None:
    """Raises CalibrationError in a worker that has no such path."""
    if isinstance(sent, Path) and not sent.is_file():
        raise CalibrationError(
            f"this worker does not see {sent}, where the model lies because it is too large to be sent. "
            "Let TMPDIR name a folder that all workers share."
        )


def unpacked(sent: bytes | Path) -> Model:
    """The model that was sent. Raises CalibrationError as `require_seen`."""
    require_seen(sent)
    return load_bytes(sent) if isinstance(sent, bytes) else load(sent).model
