"""Where in a protobuf text each field stands, however deep. protobuf tells it of syntax errors only.

The text given to this module has been parsed by protobuf already: nothing is checked here.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from amct_lite.record.lines import tokens

Path = tuple[tuple[str, int], ...]
"""Field names from the outermost message inwards, each with its position among the fields of that name."""


@dataclass
class _Open:
    """A message that is open at the current token. list_of: the field whose list is open within it."""

    path: Path
    counts: Counter[str] = field(default_factory=Counter)
    list_of: str = ""

    def next(self, name: str) -> Path:
        self.counts[name] += 1
        return (*self.path, (name, self.counts[name] - 1))


def field_lines(text: str) -> dict[Path, int]:
    """The line of every field of `text`; of a list, that of each item."""
    lines: dict[Path, int] = {}
    opened = [_Open(())]
    name, value_follows = "", False
    for kind, token, line in tokens(text):
        message = opened[-1]
        if token in {"{", "<"} and kind == "mark":
            opened.append(_Open(message.next(message.list_of or name)))
            lines[opened[-1].path] = line
            value_follows = False
        elif token in {"}", ">"} and kind == "mark":
            opened.pop()
        elif kind == "mark":
            if token == "[":
                message.list_of = name
            elif token == "]":
                message.list_of = ""
            value_follows = token == ":" or bool(message.list_of)
        elif value_follows:
            lines[message.next(message.list_of or name)] = line
            value_follows = False
        elif kind == "word":
            name = token
    return lines
