"""How every command of this package ends: one message and the exit code of its kind, never a traceback for a mistake, nor for
a letter that the terminal or pipe does not have."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

import click

from amct_lite.errors import AmctError, ExportError


@contextmanager
def exit_codes(tell: Callable[[AmctError], None]) -> Iterator[None]:
    """Around a whole command line. tell: says an error of this package to the user."""
    _open_what_is_closed()
    _take_any_letter()
    try:
        yield
        sys.stdout.flush()
    except AmctError as error:
        tell(error)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _end_interrupted()
    except ImportError as error:  # Ctrl-C or SIGTERM may reach a compiled module while it is loaded
        if isinstance(error.__cause__, SystemExit):
            raise error.__cause__ from None
        if not isinstance(error.__cause__, KeyboardInterrupt):
            raise
        _end_interrupted()
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        _say_no_more()
        sys.exit(1)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        _say_no_more()
        full = ExportError("there is no room on the disk that what is printed goes to. Make room there.")
        tell(full)
        sys.exit(full.exit_code)


def _end_interrupted() -> NoReturn:
    click.echo("interrupted; no file was written or left half-written.", err=True)
    sys.exit(130)


def _open_what_is_closed() -> None:
    """Whoever closes standard streams (`>&-`, or a parent that has none) wants nothing of them. What is opened gets the lowest
    number that is free, so no file of the run gets theirs, into which others may print."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - for as long as the process lives


def _take_any_letter() -> None:
    """A question mark stands for what the encoding of standard output lacks: box drawing in a pipe on Windows or in an old
    locale, the bytes of a file name that are no UTF-8. Standard error does the like on its own."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors in {"strict", "surrogateescape"}:
        sys.stdout.reconfigure(errors="replace")


def _say_no_more() -> None:
    """What is left in the buffer of standard output would fail again when Python ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def tell_on_stderr(error: AmctError) -> None:
    """`ConfigError: …`."""
    click.echo(f"{type(error).__name__}: {error}", err=True)
