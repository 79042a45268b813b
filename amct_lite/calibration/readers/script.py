"""A user's Python file that yields feeds. It is run, with all a program may do: only pass files you trust.

The file defines one of `feeds()`, `calibration()` (functions or generators without arguments) or `DATA` (an iterable),
whose items are as in `readers.in_memory`. Its own imports may lie beside it.
"""

from __future__ import annotations

import runpy
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from amct_lite.calibration.feeds import InputSpec
from amct_lite.calibration.readers.in_memory import named_arrays
from amct_lite.calibration.readers.source import LabelledBatch, Source
from amct_lite.calibration.user_code import running_user_code
from amct_lite.errors import DataError
from amct_lite.registry import did_you_mean

_FUNCTIONS = ("feeds", "calibration")
_ITERABLE = "DATA"
_REMEDY = "Correct the file."


def script_source(path: Path, inputs: Sequence[InputSpec]) -> Source:
    """Runs the file once; its function is called anew for each pass over the data.

    Raises DataError with the line in the user's file for whatever goes wrong in it, then and while reading.
    """
    with running_user_code(path, _REMEDY, when="when it was loaded"):
        # not "__main__": what stands under that guard is for another use of the file
        names = runpy.run_path(str(path), run_name="amct_lite_data")
    name, start = _entry(path, names)
    repeatable = name != _ITERABLE or iter(names[name]) is not names[name]
    return Source(f"{path}: {name}", lambda: _batches(path, start, inputs), repeatable=repeatable)


def _entry(path: Path, names: dict[str, object]) -> tuple[str, Callable[[], Iterable[object]]]:
    for name in _FUNCTIONS:
        function = names.get(name)
        if callable(function):
            return name, function
    data = names.get(_ITERABLE)
    if isinstance(data, Iterable):
        return _ITERABLE, lambda: data
    own = [name for name in names if not name.startswith("_")]
    close = next(filter(None, (did_you_mean(name, own) for name in (*_FUNCTIONS, _ITERABLE))), "")
    raise DataError(
        f"{path} defines neither feeds() nor calibration() nor an iterable DATA{close}. "
        "Add a generator feeds() that yields a dict from input names to arrays."
    )


def _batches(path: Path, start: Callable[[], Iterable[object]], inputs: Sequence[InputSpec]) -> Iterator[LabelledBatch]:
    with running_user_code(path, _REMEDY, when="before the first batch"):
        iterator = iter(start())
    index = 0
    while True:
        with running_user_code(path, _REMEDY, when=f"in batch {index}"):
            try:
                item = next(iterator)
            except StopIteration:
                return
        yield named_arrays(item, inputs, f"batch {index} of {path}"), str(path)
        index += 1
