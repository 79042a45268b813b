"""What a user is told of the journal that a long command keeps until its end, in case it is interrupted."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click


def journal_of(output: str, suffix: str, *, quiet: bool) -> Path:
    """The journal of the output prefix; says so when there is one already."""
    from amct_lite.files import output_path

    path = output_path(output, suffix)
    if path.is_file() and not quiet:
        click.echo(
            f"there is a journal of an interrupted run, {path}: what it knows is not measured again. Delete it to begin anew.",
            err=True,
        )
    return path


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
