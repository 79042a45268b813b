"""Configuration files of every format: AMCT's two and this package's own, read to a `QuantConfig` and written from one.

What a file holds is told from its name, else from its text: JSON starts with a brace, all else is protobuf text.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from amct_lite import ir
from amct_lite.compat import json_keys
from amct_lite.compat.cfg_config import read_cfg
from amct_lite.compat.cfg_writer import cfg_text
from amct_lite.compat.json_config import read_json
from amct_lite.compat.json_writer import json_text
from amct_lite.config import FORMATS, QuantConfig, format_config, load_config
from amct_lite.config.files import read_text
from amct_lite.errors import ConfigError
from amct_lite.files import staged_outputs
from amct_lite.loading import Qdq, SourceModel, load_prepared
from amct_lite.types import FUSE_ALL, Fusion, QuantPlan

AMCT_FORMATS = ("amct", "cfg")
"""amct: AMCT's JSON; cfg: AMCT's simplified configuration. FORMATS: this package's own tables."""

Reader = Callable[[str | os.PathLike[str], ir.Model | None], QuantConfig]

_OWN_SUFFIXES = (".yaml", ".yml", ".toml")
_FORMAT_OF = {".json": "amct", ".cfg": "cfg", ".yaml": "yaml", ".yml": "yaml", ".toml": "toml"}


def load_amct_config(path: str | os.PathLike[str], model: ir.Model | None = None) -> QuantConfig:
    """The settings of the AMCT configuration at `path`, JSON or simplified (protobuf text).

    model: prepared; without one, the names and types that the file mentions are not checked.
    Raises ConfigError with everything that is wrong with the file, each with its line.
    """
    source = os.fspath(path)
    text = read_text(source)
    if _is_json(source, text):
        return read_json(text, source, model)
    try:
        return read_cfg(text, source, model)
    except ConfigError as error:
        if Path(source).suffix.lower() == ".cfg":
            raise
        others = ", ".join((*_OWN_SUFFIXES, ".json"))
        raise ConfigError(
            f"{error} It was read as AMCT's simplified configuration, as its name ends in none of {others}."
        ) from error


def is_amct_config(path: str | os.PathLike[str]) -> bool:
    """Whether the file at `path` is one of AMCT's, not one of this package's own. Raises ConfigError when it cannot be read.

    A JSON file is AMCT's when it has one of AMCT's root keys, or a table with `quant_enable`.
    """
    source = os.fspath(path)
    if Path(source).suffix.lower() in _OWN_SUFFIXES:
        return False
    text = read_text(source)
    if not _is_json(source, text):
        return True
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return False
    tables = data.items() if isinstance(data, dict) else ()
    return any(key in json_keys.ROOT or (isinstance(value, dict) and "quant_enable" in value) for key, value in tables)


def load_any_config(path: str | os.PathLike[str], model: ir.Model | None = None) -> QuantConfig:
    """The settings in the file at `path`, whatever its format. Raises ConfigError as `load_amct_config` does."""
    return load_amct_config(path, model) if is_amct_config(path) else load_config(path)


def load_configured(
    path: str | os.PathLike[str],
    model: str | Path | ir.Model,
    read: Reader = load_any_config,
    *,
    target: str | None = None,
    qdq: Qdq = "refuse",
) -> tuple[QuantConfig, SourceModel]:
    """The settings in the file at `path`, and `model` prepared as they want it. read: which formats are taken. target:
    instead of the file's own. qdq: as for `load_prepared`.

    Raises ConfigError as `load_amct_config` does, and for nodes in skip_fusion_layers that the model does not have.
    """
    read_text(os.fspath(path))  # what is no text is told before a model is loaded
    folding = _folding(path, read)
    source = load_prepared(model, folding, qdq)
    config = read(path, source.prepared).for_target(target)
    return config, source if config.folding == folding else load_prepared(model, config.folding, qdq)


def _folding(path: str | os.PathLike[str], read: Reader) -> Fusion:
    """What the file says of it; a file with problems is told off when it is read against the model, which finds them all."""
    try:
        return read(path, None).folding
    except ConfigError:
        return FUSE_ALL


def format_of(path: str | os.PathLike[str]) -> str:
    """One of AMCT_FORMATS or FORMATS, by the end of the file's name; .json is AMCT's. Raises ConfigError for another end."""
    kind = _FORMAT_OF.get(Path(path).suffix.lower())
    if kind is None:
        raise ConfigError(f"{os.fspath(path)} is no name for a configuration file: it must end in {', '.join(_FORMAT_OF)}.")
    return kind


def write_config(
    path: str | os.PathLike[str],
    config: QuantConfig,
    plan: QuantPlan | None,
    kind: str,
    *,
    inputs: Iterable[str | os.PathLike[str]] = (),
) -> None:
    """Writes `config` as a file of `kind`, one of AMCT_FORMATS or FORMATS.

    plan: made of `config`; AMCT's formats need it, as they list layers. inputs: files that must not be overwritten.
    Raises ConfigError when the format has no words for it, ExportError when the file cannot be written.
    """
    if kind in FORMATS:
        text = format_config(config, kind)
    elif plan is None:
        raise ConfigError("AMCT's formats list the layers of a model: name the model, too.")
    else:
        text = cfg_text(plan, config) if kind == "cfg" else json_text(plan, config)
    with staged_outputs(inputs=inputs) as outputs:
        outputs.stage(path).write_text(text, encoding="utf-8")


def _is_json(source: str, text: str) -> bool:
    suffix = Path(source).suffix.lower()
    return suffix == ".json" or (suffix != ".cfg" and text.lstrip().startswith("{"))
