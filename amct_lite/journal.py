"""What a long run has found so far, on disk as soon as it is known, so that an interrupted run goes on where it stopped.

One JSON object a line; the first holds the key of what is being done. A line that was cut off by the interruption does not
count. A journal of another key is replaced: what it says does not belong here.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from amct_lite.errors import ExportError
from amct_lite.files import staged_outputs

FORMAT = 1
Entry = Mapping[str, Any]


class Journal:
    """The journal at `path`; nothing is kept on disk where it is None.

    key: a digest of everything that the entries depend on. entries: those of an interrupted run, in order. replaced: whether
    there were entries of another key, which are gone.
    """

    def __init__(self, path: Path | None, key: str) -> None:
        self._path = path
        self.entries: tuple[dict[str, Any], ...] = ()
        self.replaced = False
        if path is not None:
            header = {"format": FORMAT, "key": key}
            first, found = _read(path)
            self.entries = found if first == header else ()
            self.replaced = found != self.entries
            with staged_outputs() as out:
                out.stage(path).write_text(_text([header, *self.entries]), encoding="utf-8")

    def add(self, entries: Iterable[Entry]) -> None:
        """They are on disk when this returns. Raises ExportError when they cannot be written."""
        if self._path is None:
            return
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(_text(entries))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise ExportError(f"cannot write the journal {self._path}: {error.strerror}. Choose another place.") from error

    def remove(self) -> None:
        """The run has come to its end: a later one begins anew."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)


def _text(entries: Iterable[Entry]) -> str:
    return "".join(f"{json.dumps(entry)}\n" for entry in entries)


def _read(path: Path) -> tuple[Entry, tuple[dict[str, Any], ...]]:
    """The header and the entries of a journal; nothing where there is none."""
    try:
        first, *lines = path.read_text(encoding="utf-8").split("\n")[:-1] or [""]
    except (OSError, UnicodeDecodeError):
        return {}, ()
    return _parsed(first), tuple(entry for line in lines if (entry := _parsed(line)))


def _parsed(line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
