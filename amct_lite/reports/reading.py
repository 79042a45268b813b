"""`<prefix>_report.json` back as the `Report` that wrote it."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from pathlib import Path
from typing import Any

from amct_lite.errors import ConfigError
from amct_lite.reports.report import Report


def read_report(path: Path) -> Report:
    """Raises ConfigError when there is no such file, or it is not a report. Fields that this version does not know are left
    out."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        report: Report = _value(Report, content)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}. Every run of `amct-lite calibrate` writes one.") from None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigError(
            f"{path} is not a report written by amct-lite ({error}). Run the command again, or check the path."
        ) from error
    return report


def _value(kind: Any, content: Any) -> Any:
    """`content`, plain JSON, as a value of the type `kind`."""
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        known = [field.name for field in dataclasses.fields(kind) if field.name in content]
        return typing.cast(Any, kind)(**{name: _value(hints[name], content[name]) for name in known})
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in {typing.Union, types.UnionType}:
        return None if content is None else _value(inner[0], content)
    if origin is tuple:
        return tuple(_value(inner[0], item) for item in content)
    if origin is dict:
        return {str(key): _value(inner[1], item) for key, item in content.items()}
    return _scalar(kind, content)


def _scalar(kind: Any, content: Any) -> Any:
    """Infinities are written as texts."""
    if kind is float and isinstance(content, int | float | str):
        return float(content)
    if not isinstance(content, kind):
        raise TypeError(f"{content!r} stands where {kind.__name__} should")
    return content
