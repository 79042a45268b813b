"""Where in the text of a record each field stands.

protobuf tells the line of a syntax error, but not of a value that is well-formed and wrong. The text given to this
module has been parsed by protobuf already: nothing is checked here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_TOKEN = re.compile(
    r"""(?P<space>\s+|\#[^\n]*)
      | (?P<string>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')
      | (?P<mark>[{}<>\[\]:,;])
      | (?P<word>[^\s{}<>\[\]:,;"'\#]+)""",
    re.DOTALL | re.VERBOSE,
)


@dataclass
class EntryLines:
    """Lines of one `record { … }`: where it opens, and for each field of it or its value, the line of every value."""

    line: int
    fields: dict[str, list[int]] = field(default_factory=dict)

    def of(self, name: str, index: int = 0) -> int:
        """The line of the `index`-th value of field `name`; of the entry, when the field is not there."""
        lines = self.fields.get(name, [])
        return lines[index] if index < len(lines) else self.line


def entry_lines(text: str) -> list[EntryLines]:
    """One `EntryLines` for each record of `text`, in order."""
    entries: list[EntryLines] = []
    opened: list[str] = []  # names of the messages and "[" of the lists around the current token
    name, value_follows = "", False
    for kind, token, line in tokens(text):
        if kind == "mark":
            if token in "{<":
                if not _messages(opened):
                    entries.append(EntryLines(line))
                opened.append(name)
            elif token == "[":
                opened.append(token)
            elif token in "]}>":
                opened.pop()
            in_list = bool(opened) and opened[-1] == "["
            value_follows = token == ":" or (in_list and token in "[,")
            if token in "]}>" and opened:
                name = next((n for n in reversed(opened) if n != "["), "")
        elif value_follows:
            if entries:
                entries[-1].fields.setdefault(name, []).append(line)
            value_follows = False
        elif kind == "word":
            name = token
    return entries


def _messages(opened: list[str]) -> int:
    return sum(name != "[" for name in opened)


def tokens(text: str) -> Iterator[tuple[str, str, int]]:
    """(kind, token, line) of all that is not space or comment."""
    line = 1
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or ""
        if kind != "space":
            yield kind, match.group(), line
        line += match.group().count("\n")
