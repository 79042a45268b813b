"""Arguments of AMCT's functions, checked under the names that the user wrote."""

from __future__ import annotations

import os
from collections.abc import Mapping

from amct_lite.compat import json_keys
from amct_lite.config import values
from amct_lite.config.values import BadValueError, Check
from amct_lite.errors import ConfigError


def _prefix(value: object) -> object:
    """Of what is written: empty, or the end of a folder's path, for none."""
    if not isinstance(value, str | os.PathLike):
        raise BadValueError("must be a path: text, or a pathlib.Path")
    return value


def _file(value: object) -> object:
    if not _prefix(value):
        raise BadValueError("must be the path of a file")
    return value


def _file_or_none(value: object) -> object:
    return None if value is None else _file(value)


_CHECKS: Mapping[str, Check] = {
    "skip_layers": values.names,
    "batch_num": json_keys.ROOT["batch_num"],
    "activation_offset": values.boolean,
    "config_defination": _file_or_none,
    "updated_model": _file_or_none,
    "save_path": _prefix,
    "save_dir": _prefix,
}
"""All other arguments are files."""


def require_arguments(**given: object) -> None:
    """Raises ConfigError with every argument that cannot be."""
    problems = []
    for name, value in given.items():
        try:
            _CHECKS.get(name, _file)(value)
        except BadValueError as error:
            problems.append(f"{name} = {value!r} {error}.")
    if problems:
        raise ConfigError("\n".join(problems))
