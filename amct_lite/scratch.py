"""What a process puts on the disk for itself while it runs: arrays that need not stay in memory, models on their way.

One folder a process, in the place that TMPDIR names. It is removed when the process ends.
"""

from __future__ import annotations

import atexit
import itertools
import mmap
import os
import shutil
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from amct_lite.errors import ExportError
from amct_lite.held import HeldFolder

LARGE = 1 << 20
"""Bytes from which on an array is not worth its memory."""
_PREFIX = "amct_lite_"

_folder: HeldFolder | None = None
_opening = threading.Lock()
_numbers = itertools.count()


def _place() -> str:
    """TMPDIR as it is: where it cannot be used, `tempfile` would take another place without a word."""
    return os.path.abspath(os.environ.get("TMPDIR") or tempfile.gettempdir())


def _new_path(name: str) -> Path:
    """A path in the folder of this process that nobody has had."""
    global _folder
    with _opening:
        if _folder is None or _folder.pid != os.getpid():
            _folder = HeldFolder(Path(_place()), _PREFIX)
            atexit.register(_folder.remove)
        return _folder.path / f"{next(_numbers)}{name}"


def write(content: Callable[[BinaryIO], object], size: int) -> Path:
    """The path of a new file with `content`, of `size` bytes; who asked for it removes it when it is not needed any more.

    Raises ExportError when there is no room for it.
    """
    with _explained(f"{size / 1e6:.0f} MB"):
        path = _new_path(".bin")
        try:
            with path.open("wb") as file:
                content(file)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
    return path


def write_array(array: NDArray[Any]) -> Path:
    """As `write`, the bytes of `array` in C order."""
    flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return write(lambda file: file.write(flat.data), array.nbytes)


def remove_with(owner: object, path: Path) -> None:
    """Remove the file at `path` when `owner` is gone; a fork of this process leaves it alone."""
    weakref.finalize(owner, _remove, path, os.getpid())


def _remove(path: Path, pid: int) -> None:
    if os.getpid() == pid:
        with suppress(OSError):  # Windows keeps what is still mapped; it goes with the folder
            path.unlink()


def put_away(array: NDArray[Any]) -> NDArray[Any]:
    """The same numbers, read-only in a file that goes with them: the kernel takes their memory back when it needs it.

    Raises ExportError when there is no room for it.
    """
    path = write_array(array)
    with path.open("rb") as file:
        memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    remove_with(memory, path)
    return np.frombuffer(memory, array.dtype).reshape(array.shape)


def put_away_large(array: NDArray[Any]) -> NDArray[Any]:
    """`array` itself where it has less than LARGE bytes, else `put_away`."""
    return put_away(array) if array.nbytes >= LARGE else array


@contextmanager
def folder() -> Iterator[Path]:
    """A new folder, removed with all that is in it at the end. Raises ExportError when it cannot be made."""
    with _explained("files"):
        path = _new_path("")
        path.mkdir()
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _explained(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        with suppress(OSError):  # there may be no such place at all
            what += f" to {_place()}"
        raise ExportError(
            f"cannot write {what}: {error.strerror or error}. What need not stay in memory is put there while a model is "
            f"worked on, {_held() / 1e6:.0f} MB so far, in all up to twice the size of the model (`sensitivity`: once for each "
            "candidate): make room, or let TMPDIR name a folder on a larger disk."
        ) from error


def _held() -> int:
    """Bytes of what this process has put there."""
    size = 0
    for path in _folder.path.rglob("*") if _folder is not None and _folder.pid == os.getpid() else ():
        with suppress(OSError):  # it may have gone with its owner, in another thread
            size += path.stat().st_size if path.is_file() else 0
    return size
