"""What a process puts on the disk for itself while it runs: weights that need not stay in memory, models on their way.

One folder a process, in the place that TMPDIR names. It is removed when the process ends; one that was left behind because its
process was killed is removed by the next process that needs a folder. A lock that dies with its process tells which is which.
"""

from __future__ import annotations

import atexit
import itertools
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from amct_lite.errors import ExportError

try:
    import fcntl
except ImportError:  # Windows: there, nobody can remove a file that is open
    fcntl = None  # type: ignore[assignment]

_PREFIX = "amct_lite_"
_LOCK = "in_use"
_JUST_MADE_SECONDS = 60
"""A folder this young may not have its lock yet."""


class _Folder:
    """The folder of this process. The lock is held by the open file, so the system lets it go whatever becomes of us."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        place = Path(tempfile.gettempdir())
        _remove_abandoned(place)
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
        self._lock = (self.path / _LOCK).open("wb")
        _locked(self._lock)
        atexit.register(self.remove)

    def remove(self) -> None:
        """Not by a fork of the process, which has its memory but not its files."""
        if os.getpid() == self.pid:
            self._lock.close()
            shutil.rmtree(self.path, ignore_errors=True)


_folder: _Folder | None = None
_opening = threading.Lock()
_numbers = itertools.count()


def _new_path(name: str) -> Path:
    """A path in the folder of this process that nobody has had."""
    global _folder
    with _opening:
        if _folder is None or _folder.pid != os.getpid():
            _folder = _Folder()
        return _folder.path / f"{next(_numbers)}{name}"


def write(content: Callable[[BinaryIO], None], size: int) -> Path:
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


def remove(path: Path, pid: int) -> None:
    """Remove a file that process `pid` wrote; a fork of it leaves it alone."""
    if os.getpid() == pid:
        with suppress(OSError):  # Windows keeps what is still mapped; it goes with the folder
            path.unlink()


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
            what += f" to {tempfile.gettempdir()}"
        raise ExportError(
            f"cannot write {what}: {error.strerror or error}. What need not stay in memory is put there while a model is "
            "worked on: make room, or let TMPDIR name a folder on a larger disk."
        ) from error


def _locked(lock: BinaryIO) -> bool:
    """Whether nobody else holds the lock; now this process does, until the file is closed."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _remove_abandoned(place: Path) -> None:
    """Folders of processes that are gone. Whatever cannot be looked at belongs to somebody else."""
    for path in place.glob(f"{_PREFIX}*/{_LOCK}"):
        with suppress(OSError):
            if time.time() - path.parent.stat().st_mtime > _JUST_MADE_SECONDS:
                with path.open("r+b") as lock:
                    abandoned = _locked(lock)
                if abandoned:
                    shutil.rmtree(path.parent, ignore_errors=True)
