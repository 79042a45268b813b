"""What happens in a worker: the state that all of its pieces share is built once, and large results go into files."""

from __future__ import annotations

import os
import pickle
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amct_lite.errors import WorkersError

_HELD: dict[str, Any] = {}
"""In a worker: what was built from the payload of this digest; one at a time."""
_BUILDING = threading.Lock()
_MOST_IN_A_PIPE = 2048
"""Bytes of a result that is sent as it is. So few are written at once or not at all: of a worker that is killed while it writes
more than a pipe takes at once, the executor would wait for the rest for ever."""


class Lacking:
    """The answer of a worker that has not got the payload yet."""


def work(
    build: Callable[[bytes], Any],
    run: Callable[[Any, Any], Any],
    digest: str,
    payload: bytes | None,
    item: Any,
    folder: Path | None,
) -> Any:
    """`run` of the state, which `build` makes of the payload, and `item`; Lacking where there is neither."""
    with _BUILDING:
        if digest not in _HELD:
            if payload is None:
                return Lacking()
            _HELD.clear()
            _HELD[digest] = build(payload)
        state = _HELD[digest]
    result = run(state, item)
    return result if folder is None else _stored(result, folder)


@dataclass(frozen=True)
class Stored:
    """A result in a file."""

    path: Path

    def taken(self) -> Any:
        """The result; the file is gone then."""
        content = self.path.read_bytes()
        self.path.unlink()
        return pickle.loads(content)


def _stored(result: Any, folder: Path) -> Any:
    content = pickle.dumps(result, protocol=5)
    if len(content) <= _MOST_IN_A_PIPE:
        return result
    path = folder / os.urandom(16).hex()
    try:
        path.write_bytes(content)
    except OSError as error:
        raise WorkersError(
            f"a worker cannot write its result of {len(content) / 1e6:.0f} MB to {folder} ({error.strerror}). Make room there, "
            "or let TMPDIR name a folder on a larger disk."
        ) from error
    return Stored(path)
