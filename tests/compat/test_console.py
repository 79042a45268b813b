"""Who sees the messages of AMCT's functions: the terminal, unless the program has set up logging."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from amct_lite.compat.console import on_console
from amct_lite.errors import ConfigError

_LOG = logging.getLogger("amct_lite.tests")


@contextmanager
def bare() -> Iterator[logging.Logger]:
    """The package's logger as in a program without any logging. No fixture: pytest hands its own handlers to every logger that
    does not propagate when a test begins."""
    logger = logging.getLogger("amct_lite")
    logger.propagate = False
    try:
        yield logger
    finally:
        logger.propagate = True


@on_console
def talk(word: str) -> str:
    """Says it."""
    _LOG.info("said %s", word)
    _LOG.warning("warned of %s", word)
    return word


def test_messages_reach_the_terminal_while_the_function_runs(capsys: pytest.CaptureFixture[str]) -> None:
    with bare() as logger:
        before = logger.handlers, logger.level
        assert talk("yes") == "yes"
        assert (logger.handlers, logger.level) == before
    told = capsys.readouterr().err
    assert "INFO - [AMCT]: said yes" in told
    assert "WARNING - [AMCT]: warned of yes" in told


def test_the_level_is_amcts(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMCT_LOG_LEVEL", "warning")
    with bare():
        talk("yes")
    assert "said" not in (told := capsys.readouterr().err)
    assert "warned of yes" in told
    monkeypatch.setenv("AMCT_LOG_LEVEL", "LOUD")
    with bare(), pytest.raises(ConfigError, match="AMCT_LOG_LEVEL=LOUD is no level"):
        talk("yes")


def test_who_has_set_up_logging_keeps_it(capsys: pytest.CaptureFixture[str]) -> None:
    with bare() as logger:
        handler = logging.NullHandler()
        logger.addHandler(handler)
        try:
            talk("yes")
        finally:
            logger.removeHandler(handler)
    assert capsys.readouterr().err == ""


def test_the_function_keeps_its_signature() -> None:
    assert (talk.__name__, talk.__doc__) == ("talk", "Says it.")
