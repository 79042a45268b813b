"""Folders that belong to a process for as long as it lives.

One that was left behind because its process was killed is removed by the next process that needs a folder in the same place. A
lock that dies with its process tells which is which.
"""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows: what says there that a process lives is that its lock cannot be removed
    fcntl = None  # type: ignore[assignment]

LOCK = ".in_use"
KEPT = "*.previous-*"
"""What somebody may still want: a folder with such a file stays."""
_JUST_MADE_SECONDS = 60
"""A folder this young may not have its lock yet."""


class HeldFolder:
    """A new folder in `place`, whose name begins with `prefix`. Raises OSError when it cannot be made.

    The lock is held by the open file, so the system lets it go whatever becomes of the process.
    """

    def __init__(self, place: Path, prefix: str) -> None:
        self.pid = os.getpid()
        _remove_abandoned(place, prefix)
        self.path = Path(tempfile.mkdtemp(prefix=prefix, dir=place))
        with ExitStack() as undo:  # a full disk takes a folder, but nothing in it
            undo.callback(shutil.rmtree, self.path, ignore_errors=True)
            self._lock = undo.enter_context((self.path / LOCK).open("wb", buffering=0))
            _locked(self._lock)
            self._lock.write(_machine())
            undo.pop_all()

    def remove(self) -> None:
        """Not by a fork of the process, which has its memory but not its files."""
        if os.getpid() == self.pid:
            self._lock.close()
            shutil.rmtree(self.path, ignore_errors=True)


def _machine() -> bytes:
    """Locks of other machines may not be seen on this one."""
    return platform.node().encode()


def _locked(lock: BinaryIO) -> bool:
    """Whether nobody else holds the lock; now this process does, until the file is closed."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _remove_abandoned(place: Path, prefix: str) -> None:
    """Folders of processes that are gone. Whatever cannot be looked at belongs to somebody else."""
    for path in place.glob(f"{prefix}*/{LOCK}"):
        with suppress(OSError):
            if time.time() - path.parent.stat().st_mtime > _JUST_MADE_SECONDS and not any(path.parent.glob(KEPT)):
                with path.open("r+b") as lock:
                    abandoned = lock.read() == _machine() and _locked(lock)
                if abandoned:
                    path.unlink()
                    shutil.rmtree(path.parent, ignore_errors=True)
