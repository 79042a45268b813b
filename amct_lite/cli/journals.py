"""What a user is told of the journal that a long command keeps until its end, in case it is interrupted."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ParamSpec

import click

P = ParamSpec("P")


def announced(journal: Path, tell: Callable[P, None], *, quiet: bool) -> Callable[P, None]:
    """`tell`, before whose first word a user learns what becomes of a journal that lay there: no sooner, since the run must
    find out first whether it is its own, and begins a new one where it is not."""
    header, *entries = _lines(journal) or [""]
    news = [] if quiet or not entries else [header]

    def telling(*args: P.args, **kwargs: P.kwargs) -> None:
        if news:
            click.echo(_news(journal, own=_lines(journal)[:1] == [news.pop()]), err=True)
        tell(*args, **kwargs)

    return telling


def _news(journal: Path, *, own: bool) -> str:
    if own:
        return f"{journal} is of an interrupted run like this: what it knows is not measured again. Delete it to begin anew."
    return f"{journal} was of an interrupted run with another model, other scales or another evaluator: this one begins anew."


def _lines(journal: Path) -> list[str]:
    """None where there is no such file."""
    try:
        return journal.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


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
