"""What a user is told of the journal that a long command keeps until its end, in case it is interrupted."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import click


def telling(*, quiet: bool) -> Callable[[str], None]:
    """Says on standard error what becomes of a journal that lies there."""
    return (lambda _text: None) if quiet else partial(click.echo, err=True)


@contextmanager
def kept_on_interrupt(journal: Path | None) -> Iterator[None]:
    """Ctrl-C says that nothing of what was measured is lost."""
    try:
        yield
    except KeyboardInterrupt:
        if journal is None or not journal.is_file():
            raise
        click.echo(f"interrupted; what was measured is in {journal}, the same command goes on from there.", err=True)
        sys.exit(130)
