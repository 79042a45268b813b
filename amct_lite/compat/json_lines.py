"""JSON text with the line of every key, and the keys that are given twice.

The standard parser tells neither; it has read the text before, so nothing is checked here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from amct_lite.errors import ConfigError

Path = tuple[str, ...]

_TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|[{}\[\],:]|[^\s{}\[\],:"]+')


@dataclass(frozen=True)
class JsonText:
    """data: what the text says (of a key given twice, the last). lines: by key path, in which items of a list are `[0]`, `[1]`,
    …. repeated: key path and line of each key that its table has already."""

    data: object
    lines: dict[Path, int] = field(default_factory=dict)
    repeated: tuple[tuple[Path, int], ...] = ()


def parse(text: str, source: str) -> JsonText:
    """Raises ConfigError with the line where `text` is not JSON."""
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{source}:{error.lineno}: not JSON: {error.msg}.") from error
    except (RecursionError, ValueError) as error:  # nested without end, or a number of thousands of digits
        raise ConfigError(f"{source} is not JSON that can be read: {error}.") from error
    lines: dict[Path, int] = {}
    repeated: list[tuple[Path, int]] = []
    for path, line in _keys(text):
        if path in lines:
            repeated.append((path, line))
        else:
            lines[path] = line
    return JsonText(data, lines, tuple(repeated))


def _keys(text: str) -> Iterator[tuple[Path, int]]:
    """Every key of every table, and every table in a list, in the order of the text."""
    path: list[str] = []  # the current key of each open table, the current item of each open list
    in_list: list[bool] = []
    line, position, previous = 1, 0, ""
    for match in _TOKEN.finditer(text):
        line += text.count("\n", position, match.start())
        position, token = match.start(), match.group()
        if token in {"{", "["}:
            if token == "{" and in_list and in_list[-1]:
                yield tuple(path), line
            path.append("[0]" if token == "[" else "")
            in_list.append(token == "[")
        elif token in {"}", "]"}:
            path.pop()
            in_list.pop()
        elif token == ":":
            path[-1] = str(json.loads(previous))
            yield tuple(path), line
        elif token == "," and in_list and in_list[-1]:
            path[-1] = f"[{int(path[-1][1:-1]) + 1}]"
        previous = token
