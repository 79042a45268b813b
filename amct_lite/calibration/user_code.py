"""Running a Python file of the user's: what goes wrong in it is told with its line, never as a traceback."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from amct_lite.errors import AmctError, DataError, Terminated


@contextmanager
def running_user_code(path: Path, remedy: str, *, when: str = "") -> Iterator[None]:
    """The code of the file at `path` runs inside; its imports may lie beside it.

    when: what it was doing, remedy: what to do, both for the DataError that its exceptions become. Errors of this package
    pass through.
    """
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)
    try:
        yield
    except (AmctError, Terminated):
        raise
    except (Exception, SystemExit) as error:
        moment = f" ({when})" if when else ""
        raise DataError(f"{path}:{_line(error, path)}{type(error).__name__}: {error}{moment}. {remedy}") from error
    finally:
        if folder in sys.path:
            sys.path.remove(folder)


def _line(error: BaseException, path: Path) -> str:
    """`12: `, the innermost line of the user's file on the way to the error."""
    if isinstance(error, SyntaxError) and _same(error.filename, path):
        return f"{error.lineno}: "
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if _same(frame.filename, path)]
    return f"{lines[-1]}: " if lines else " "


def _same(filename: str | None, path: Path) -> bool:
    return filename is not None and Path(filename).resolve() == path.resolve()
