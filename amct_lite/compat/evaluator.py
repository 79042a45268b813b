"""Evaluators: Python files with a class derived from `AutoCalibrationEvaluatorBase`, made for this package or for AMCT.

The file is run, with all a program may do: only pass files you trust.
"""

from __future__ import annotations

import copyreg
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial, update_wrapper
from pathlib import Path
from types import ModuleType

from amct_lite.calibration.user_code import running_user_code
from amct_lite.common.auto_calibration import AutoCalibrationEvaluatorBase
from amct_lite.errors import ConfigError

_ALIASES = {
    "amct_onnx": "amct_lite",
    "amct_onnx.common": "amct_lite.common",
    "amct_onnx.common.auto_calibration": "amct_lite.common.auto_calibration",
}
_MODULE = "amct_lite_evaluator"
_REMEDY = "Correct the evaluator."


def load_evaluator(path: Path) -> AutoCalibrationEvaluatorBase:
    """An instance of the evaluator class that the file at `path` defines.

    Inside of the file, `amct_onnx` is this package, unless AMCT itself is installed.
    Raises ConfigError when there is no such class, or more than one; DataError for what goes wrong in the file.
    """
    module = _run(path)
    evaluator = _instance(module, path)
    if evaluator is None:
        raise ConfigError(
            f"{path} must define one class derived from amct_lite.common.auto_calibration.AutoCalibrationEvaluatorBase; "
            f"it has none."
        )
    return evaluator


def load_metric(path: Path) -> AutoCalibrationEvaluatorBase | Callable[[str], float]:
    """The evaluator class of the file at `path`, as an instance; where it has none its function `evaluate`.

    Raises ConfigError when it has neither; DataError for what goes wrong in the file.
    """
    module = _run(path)
    found = _instance(module, path) or _function(module, path)
    if found is None:
        raise ConfigError(
            f"{path} must define a function evaluate(model_path) that returns the metric of a model, or a class derived from "
            f"amct_lite.common.auto_calibration.AutoCalibrationEvaluatorBase; it has neither."
        )
    return found


def _run(path: Path) -> ModuleType:
    if not path.exists():
        raise ConfigError(f"--evaluator {path} does not exist. Check the path of the Python file.")
    spec = importlib.util.spec_from_file_location(_MODULE, path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise ConfigError(f"--evaluator {path} is no Python file. Give the path of a file that ends with .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[_MODULE] = module  # as an import would: dataclasses and pickle look their classes up there
    with amct_names(), running_user_code(path, _REMEDY):
        spec.loader.exec_module(module)
    return module


def _instance(module: ModuleType, path: Path) -> AutoCalibrationEvaluatorBase | None:
    found = [
        value
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, AutoCalibrationEvaluatorBase) and value.__module__ == _MODULE
    ]
    if len(found) > 1:
        raise ConfigError(f"{path} must define one evaluator class; it has {', '.join(kind.__name__ for kind in found)}.")
    with amct_names(), running_user_code(path, _REMEDY):
        evaluator = found[0]() if found else None
    if evaluator is not None:
        copyreg.pickle(type(evaluator), partial(_reduced, path.resolve()))  # type: ignore[arg-type]  # a third item is its state
    return evaluator


def _reduced(path: Path, evaluator: AutoCalibrationEvaluatorBase) -> tuple[object, ...]:
    """In another process its class is read from the file again."""
    return load_evaluator, (path,), vars(evaluator)


def _function(module: ModuleType, path: Path) -> Callable[[str], float] | None:
    function = getattr(module, "evaluate", None)
    return _FunctionOfFile(path, function) if callable(function) else None


class _FunctionOfFile:
    """The function `evaluate` of the file at `path`; in another process it is read from there again."""

    def __init__(self, path: Path, function: Callable[[str], float]) -> None:
        self._path, self._function = path, function
        update_wrapper(self, function)

    def __call__(self, model_path: str) -> float:
        with amct_names():
            return self._function(model_path)

    def __reduce__(self) -> tuple[object, ...]:
        return load_metric, (self._path.resolve(),)


def run_evaluator(evaluator: AutoCalibrationEvaluatorBase, path: Path, modified_model: Path) -> None:
    """Its `calibration`, on the calibration model. Raises DataError for what goes wrong in the user's file."""
    with amct_names(), running_user_code(path, _REMEDY):
        evaluator.calibration(str(modified_model))


@contextmanager
def amct_names() -> Iterator[None]:
    """AMCT's module names work inside."""
    aliases = (
        {} if importlib.util.find_spec("amct_onnx") else {old: importlib.import_module(new) for old, new in _ALIASES.items()}
    )
    before = {name: sys.modules.get(name) for name in aliases}
    sys.modules.update(aliases)
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = module
