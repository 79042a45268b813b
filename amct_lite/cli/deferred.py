"""How a command starts and ends: libraries that it seldom needs are loaded when they are first used, and nobody looks for
garbage where there is none, or none that matters.

onnx-ir imports sympy for arithmetic on symbolic dimensions, which nothing here asks for: a third of all that starting a command
costs. Only the commands defer it; a program that imports `amct_lite` keeps the import system as it is.
"""

from __future__ import annotations

import atexit
import gc
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from types import ModuleType

# The second uses sympy while it is imported, and is itself used for nothing but parsing such arithmetic.
_DEFERRED = frozenset({"sympy", "onnx_ir._symbolic_shapes"})


class _Deferring:
    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """What Python's own finder says, with a loader that waits; None, which passes the question on, for all else."""
        if fullname not in _DEFERRED:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = LazyLoader(spec.loader)
        return spec


def defer() -> None:
    """From now on in this process; once is enough."""
    if not any(isinstance(finder, _Deferring) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Deferring())
        atexit.register(gc.freeze)  # models are full of cycles: Python would take them apart, and then the process is gone


@contextmanager
def importing() -> Iterator[None]:
    """Around the imports of a command: what modules make stays, so nobody need look through it for garbage, now or later."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
