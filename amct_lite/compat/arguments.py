"""Arguments of AMCT's functions, checked under the names that the user wrote."""

from __future__ import annotations

from collections.abc import Mapping

from amct_lite.compat import json_keys
from amct_lite.config import values
from amct_lite.config.values import BadValueError, Check
from amct_lite.errors import ConfigError

_CHECKS: Mapping[str, Check] = {
    "skip_layers": values.names,
    "batch_num": json_keys.ROOT["batch_num"],
    "activation_offset": values.boolean,
}


def require_arguments(**given: object) -> None:
    """Raises ConfigError with every argument that cannot be."""
    problems = []
    for name, value in given.items():
        try:
            _CHECKS[name](value)
        except BadValueError as error:
            problems.append(f"{name} = {value!r} {error}.")
    if problems:
        raise ConfigError("\n".join(problems))
