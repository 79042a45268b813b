"""A metric in a Python file of the user's. The file is run, with all a program may do: only pass files you trust."""

from __future__ import annotations

import functools
import runpy
from collections.abc import Mapping
from pathlib import Path

from amct_lite.analysis.figures import MetricFunction
from amct_lite.calibration.user_code import running_user_code
from amct_lite.errors import ConfigError
from amct_lite.registry import did_you_mean
from amct_lite.types import AnyArray

_FUNCTION = "metric"
_REMEDY = "Correct the metric."


def load_metric_file(path: Path) -> MetricFunction:
    """The function `metric(exact, other)` of the file at `path`: what goes wrong in it is told with its line.

    Raises ConfigError when there is no such file or function, DataError for what goes wrong when the file is run.
    """
    if not path.is_file():
        raise ConfigError(f"--metric {path} does not exist. Give a name, or a Python file with a function {_FUNCTION}.")
    with running_user_code(path, _REMEDY, when="when it was loaded"):
        names = runpy.run_path(str(path), run_name="amct_lite_metric")
    function = names.get(_FUNCTION)
    if not callable(function):
        hint = did_you_mean(_FUNCTION, [name for name in names if not name.startswith("_")])
        raise ConfigError(
            f"{path} defines no function {_FUNCTION}{hint}. Add {_FUNCTION}(exact, other): the outputs of the float model and "
            "of the other, by name → how much worse the other is, 0 when they are the same."
        )

    return _Guarded(path, function)


class _Guarded:
    """The function of the file at `path`; in another process it is read from there again."""

    def __init__(self, path: Path, function: MetricFunction) -> None:
        self._path, self._function = path, function
        functools.update_wrapper(self, function)

    def __call__(self, exact: Mapping[str, AnyArray], other: Mapping[str, AnyArray]) -> float:
        with running_user_code(self._path, _REMEDY, when="on the outputs of a batch"):
            return self._function(exact, other)

    def __reduce__(self) -> tuple[object, ...]:
        return load_metric_file, (self._path.resolve(),)
