"""Messages on the terminal, as AMCT's functions and commands show them: from the level on that AMCT_LOG_LEVEL says."""

from __future__ import annotations

import functools
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

from amct_lite.errors import ConfigError

_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
_FORMAT = "%(asctime)s - %(levelname)s - [AMCT]: %(message)s"
_P = ParamSpec("_P")
_R = TypeVar("_R")


def console_handler() -> logging.Handler:
    """To standard error, from AMCT_LOG_LEVEL on."""
    return told(logging.StreamHandler(sys.stderr), "AMCT_LOG_LEVEL")


def told(handler: logging.Handler, variable: str) -> logging.Handler:
    """`handler` in AMCT's form, from the level on that the environment variable says; INFO when it says nothing.

    Raises ConfigError for a level that is none.
    """
    level = os.environ.get(variable, "INFO").upper()
    if level not in _LEVELS:
        raise ConfigError(f"{variable}={level} is no level: choose one of {', '.join(_LEVELS)}.")
    handler.setLevel(level)
    handler.setFormatter(logging.Formatter(_FORMAT))
    return handler


def on_console(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """The function, its messages on the terminal; whoever has set up logging decides himself where they go."""

    @functools.wraps(function)
    def telling(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        with _console():
            return function(*args, **kwargs)

    return telling


@contextmanager
def _console() -> Iterator[None]:
    logger = logging.getLogger("amct_lite")
    if logger.hasHandlers():
        yield
        return
    handler, before = console_handler(), logger.level
    logger.addHandler(handler)
    logger.setLevel(handler.level)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
