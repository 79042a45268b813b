"""Configuration files written: the same tables as YAML, TOML or JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

from amct_lite.config.settings import QuantConfig
from amct_lite.errors import ConfigError

FORMATS = ("yaml", "toml", "json")


def format_config(config: QuantConfig, kind: str) -> str:
    """The content of a file of `kind`, one of FORMATS, that is read to a configuration equal to `config`.

    Raises ConfigError when PyYAML is needed and not installed.
    """
    tables = config.to_mapping()
    if kind == "json":
        return json.dumps(tables, indent=2, ensure_ascii=False) + "\n"
    if kind == "toml":
        return "\n".join(_toml(tables, ())).lstrip("\n") + "\n"
    try:
        from amct_lite.config import yaml_file
    except ImportError as error:
        raise ConfigError("YAML needs PyYAML: pip install 'amct-lite[yaml]', or write .toml or .json.") from error
    return yaml_file.dump(tables)


def _toml(table: Mapping[str, object], path: tuple[str, ...]) -> Iterator[str]:
    """Lines: the values of a table, then its inner tables under their headings."""
    inner = {key: value for key, value in table.items() if isinstance(value, Mapping)}
    plain = {key: value for key, value in table.items() if key not in inner}
    if path and (plain or not inner):
        yield f"\n[{'.'.join(map(_key, path))}]"
    for key, value in plain.items():
        yield f"{_key(key)} = {_text(value)}"
    for key, value in inner.items():
        yield from _toml(value, (*path, key))


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _text(key)


def _text(value: object) -> str:
    """A JSON value is a TOML value, but for the control character that JSON lets pass."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
