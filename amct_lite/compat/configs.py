"""AMCT's two configuration formats, by file: read to a `QuantConfig`, and the JSON one written.

What a file holds is told from its name, else from its text: JSON starts with a brace, all else is protobuf text.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from amct_lite import ir
from amct_lite.compat import json_keys
from amct_lite.compat.cfg_config import read_cfg
from amct_lite.compat.json_config import read_json
from amct_lite.compat.json_writer import json_text
from amct_lite.config import QuantConfig
from amct_lite.errors import ConfigError
from amct_lite.files import staged_outputs
from amct_lite.types import QuantPlan

_OWN_SUFFIXES = (".yaml", ".yml", ".toml")


def load_amct_config(path: str | os.PathLike[str], model: ir.Model | None = None) -> QuantConfig:
    """The settings of the AMCT configuration at `path`, JSON or simplified (protobuf text).

    model: prepared; without one, the names and types that the file mentions are not checked.
    Raises ConfigError with everything that is wrong with the file, each with its line.
    """
    source = os.fspath(path)
    text = _text(source)
    if _is_json(source, text):
        return read_json(text, source, model)
    return read_cfg(text, source, model)


def is_amct_config(path: str | os.PathLike[str]) -> bool:
    """Whether the file at `path` is one of AMCT's, not one of this package's own. Raises ConfigError when it cannot be read.

    A JSON file is AMCT's when it has one of AMCT's root keys, or a table with `quant_enable`.
    """
    source = os.fspath(path)
    if Path(source).suffix.lower() in _OWN_SUFFIXES:
        return False
    text = _text(source)
    if not _is_json(source, text):
        return True
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return False
    tables = data.items() if isinstance(data, dict) else ()
    return any(key in json_keys.ROOT or (isinstance(value, dict) and "quant_enable" in value) for key, value in tables)


def write_json_config(
    path: str | os.PathLike[str], plan: QuantPlan, config: QuantConfig, *, inputs: Iterable[str | os.PathLike[str]] = ()
) -> None:
    """Writes AMCT's JSON configuration that says what `plan`, made of `config`, says; `config.batches` is its batch_num.

    inputs: files that must not be overwritten.

    Raises ConfigError when the format has no words for it, ExportError when the file cannot be written.
    """
    text = json_text(plan, config)
    with staged_outputs(inputs=inputs) as outputs:
        outputs.stage(path).write_text(text, encoding="utf-8")


def _text(source: str) -> str:
    try:
        return Path(source).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {source}: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{source} is not UTF-8 text (byte {error.start}). Save it as UTF-8.") from error


def _is_json(source: str, text: str) -> bool:
    suffix = Path(source).suffix.lower()
    return suffix == ".json" or (suffix != ".cfg" and text.lstrip("\ufeff \t\r\n").startswith("{"))
