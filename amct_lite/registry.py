"""Named things that can be added by adding one file: operators, observers, weight quantizers, exporters."""

from __future__ import annotations

import difflib
import fnmatch
import importlib
import pkgutil
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Generic, TypeVar

from amct_lite.errors import ConfigError

T = TypeVar("T")
M = TypeVar("M")

_SEVERAL = 3
"""So few wrong names may be slips: each gets a sentence of its own."""
_TENTH = 0.1


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """` (did you mean 'x'?)` for the nearest of `choices`, if need be in another case, else an empty string."""
    names = list(choices)
    in_any_case = {choice.casefold(): choice for choice in names}
    if name.casefold() in in_any_case and name not in names:
        return f" (did you mean {in_any_case[name.casefold()]!r}?)"
    close = difflib.get_close_matches(name, names, n=1) or [
        in_any_case[letters] for letters in difflib.get_close_matches(name.casefold(), in_any_case, n=1)
    ]
    return f" (did you mean {close[0]!r}?)" if close else ""


def pattern_meant(text: str, names: Sequence[str]) -> str:
    """` (did you mean 'conv*', …?)` where several of `names` begin with `text`, or hold it; else an empty string."""
    beginning = sum(name.startswith(text) for name in names)
    holding = sum(text in name for name in names)
    count, pattern = (beginning, f"{text}*") if beginning > 1 else (holding, f"*{text}*")
    return f" (did you mean {pattern!r}, which matches {count} names?)" if count > 1 else ""


def belong_elsewhere(names: Sequence[str], known: Container[str]) -> str:
    """That fewer than a tenth of several names are `known`, the nodes of a model: they are of another one, and each needs no
    sentence of its own. Else empty."""
    there = sum(name in known for name in names)
    if len(names) < _SEVERAL or there >= _TENTH * len(names):
        return ""
    count = "none" if not there else f"only {there}"
    return f"{count} of its {len(names)} names is a node of the model (the first is {names[0]!r})"


def matching(pattern: str, names: Sequence[str], *, where: str) -> tuple[str, ...]:
    """The names that are `pattern` or that it matches. Raises ConfigError when there is none."""
    found = tuple(name for name in names if name == pattern or fnmatch.fnmatchcase(name, pattern))
    if not found:
        raise ConfigError(f"no layer of {where} matches {pattern!r}{did_you_mean(pattern, names)}.")
    return found


class Registry(Generic[T]):
    """A name → value table whose entries register themselves when their file is imported.

    kind: what an entry is called in messages ("observer"). package: the package whose modules hold the entries;
    all of them are imported at the first look-up.
    """

    def __init__(self, kind: str, package: str) -> None:
        self._kind = kind
        self._package = package
        self._entries: dict[str, T] = {}
        self._discovered = False

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator (or plain call) that adds an entry; a name is taken once."""

        def add(entry: T) -> T:
            if name in self._entries:
                raise ValueError(f"{self._kind} {name!r} is registered twice")
            self._entries[name] = entry
            return entry

        return add

    def get(self, name: str) -> T:
        """The entry called `name`. Raises ConfigError that lists the names and the nearest one."""
        names = self.names()
        if name not in self._entries:
            raise ConfigError(f"unknown {self._kind} {name!r}{did_you_mean(name, names)}; choose one of {', '.join(names)}.")
        return self._entries[name]

    def make(self: Registry[Callable[..., M]], name: str, options: Mapping[str, object]) -> M:
        """The dataclass called `name` with these options; what is left out takes its default.

        Raises ConfigError for an unknown name, an option that it does not have, or a value out of its range.
        """
        entry = self.get(name)
        known = tuple(field.name for field in fields(entry))  # type: ignore[arg-type]  # all are dataclasses
        for option in options:
            if option not in known:
                choices = f"choose from {', '.join(known)}" if known else "it has none"
                raise ConfigError(f"{self._kind} {name!r} has no option {option!r}{did_you_mean(option, known)}; {choices}.")
        return entry(**options)

    def find(self, name: str) -> T | None:
        """The entry called `name`, or None."""
        self._discover()
        return self._entries.get(name)

    def names(self) -> tuple[str, ...]:
        """All names, sorted."""
        self._discover()
        return tuple(sorted(self._entries))

    def _discover(self) -> None:
        if self._discovered:
            return
        package = importlib.import_module(self._package)
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{self._package}.{module.name}")
        self._discovered = True  # last: another thread imports along, and after a failure the next look-up fails alike
