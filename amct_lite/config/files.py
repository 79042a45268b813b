"""Configuration files: YAML, TOML and JSON into nested tables, with the line of every key."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from amct_lite.config.document import Document
from amct_lite.config.mapping import Path as KeyPath
from amct_lite.config.settings import QuantConfig
from amct_lite.errors import ConfigError


def load_config(path: str | os.PathLike[str]) -> QuantConfig:
    """The configuration in a .yaml, .yml, .toml or .json file.

    Raises ConfigError with every problem and its line (in TOML and JSON the line is searched for, and may be missing).
    """
    source = os.fspath(path)
    parse = _PARSERS.get(Path(source).suffix.lower())
    if parse is None:
        raise ConfigError(f"{source} is no configuration file: its name must end in {', '.join(_PARSERS)}.")
    document = parse(read_text(source), source)
    data = {} if document.data is None else document.data
    if not isinstance(data, dict):
        raise ConfigError(f"{source} holds a {type(data).__name__}, must be a table of settings such as `batches: 32`.")
    return QuantConfig.from_mapping(data, source, lines=document.lines, problems=document.problems)


def read_text(source: str) -> str:
    """The text of a configuration file, of any format. Raises ConfigError when it cannot be read, or is no UTF-8."""
    try:
        return Path(source).read_text(encoding="utf-8-sig")  # Windows editors put a mark in front
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {source}: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{source} is no configuration: it is not UTF-8 text (byte {error.start}). Save it as UTF-8."
        ) from error


def _parse_json(text: str, source: str) -> Document:
    problems: list[str] = []

    def table(pairs: list[tuple[str, object]]) -> dict[str, object]:
        keys = [key for key, _ in pairs]
        for key in dict.fromkeys(key for key in keys if keys.count(key) > 1):
            found = [m.start() for m in re.finditer(re.escape(json.dumps(key)) + r"\s*:", text)]
            place = f"{source}:{_line(text, found[1])}" if len(found) > 1 else source
            problems.append(f"{place}: the key {key!r} is given twice. Keep one.")
        return dict(pairs)

    try:
        data = json.loads(text, object_pairs_hook=table)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{source}:{error.lineno}: not JSON: {error.msg}.") from error
    except (RecursionError, ValueError) as error:
        raise _unreadable(source, error) from error
    return Document(data, dict(_searched(data, text, r"""(?<!\\)"KEY"(?=\s*:)""")), problems)


def _parse_toml(text: str, source: str) -> Document:
    import tomllib

    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"^(.*) \(at line (\d+), column \d+\)$", str(error))
        place, reason = (f"{source}:{found[2]}", found[1]) if found else (source, str(error))
        raise ConfigError(f"{place}: not TOML: {reason}.") from error
    except (RecursionError, ValueError) as error:
        raise _unreadable(source, error) from error
    return Document(data, dict(_searched(data, text, r"""(?<![\w-])["']?KEY["']?(?=\s*[=.\]])""")))


def _unreadable(source: str, error: RecursionError | ValueError) -> ConfigError:
    """Of text that has no fault of syntax: a ValueError is a number of thousands of digits."""
    return ConfigError(f"{source} is nested too deeply." if isinstance(error, RecursionError) else f"{source}: {error}.")


def _searched(data: object, text: str, pattern: str, base: KeyPath = (), start: int = 0) -> Iterator[tuple[KeyPath, int]]:
    """Lines of the keys, each searched for behind the key of the table it stands in."""
    if not isinstance(data, dict):
        return
    for key, value in data.items():
        found = re.compile(pattern.replace("KEY", re.escape(key))).search(text, start)
        if found:
            yield (*base, key), _line(text, found.start())
            yield from _searched(value, text, pattern, (*base, key), found.end())


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def _parse_yaml(text: str, source: str) -> Document:
    try:
        from amct_lite.config import yaml_file
    except ImportError as error:
        raise ConfigError(
            f"{source} is YAML, which needs PyYAML: pip install 'amct-lite[yaml]', or write it as .toml or .json."
        ) from error
    return yaml_file.parse(text, source)


_PARSERS: dict[str, Callable[[str, str], Document]] = {
    ".yaml": _parse_yaml,
    ".yml": _parse_yaml,
    ".toml": _parse_toml,
    ".json": _parse_json,
}
