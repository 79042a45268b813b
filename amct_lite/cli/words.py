"""The words of a command line: what the shell has made of them, and what their writer meant."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import click


def as_meant(words: Sequence[str]) -> list[str]:
    """`words` as an option takes them that has its value in the same word: `-o=x` as `-ox`, which click takes for `=x`, and in
    `--data=~/x` the home folder, which a shell puts there at the beginning of a word only.

    Raises UsageError for an empty one: no option has a use for it, and a variable of the shell that is not set gives one.
    """
    for place, word in enumerate(words):
        if not word or re.fullmatch(r"--[\w-]+=|-\w=", word):
            what = word or (f"what follows {words[place - 1]}" if place else "the first word")
            raise click.UsageError(f"{what} is empty. Give a value; is a variable of the shell not set?")
    joined = (re.sub(r"^(-\w)=", r"\1", word) for word in words)
    return [re.sub(r"^(--[\w-]+=|-\w)~(?=/|$)", lambda found: f"{found[1]}{Path.home()}", word) for word in joined]
