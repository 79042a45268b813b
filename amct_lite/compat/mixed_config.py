"""Reads the configuration of AMCT's search for mixed precision (protobuf text, `AutoMixedPrecisionConfig`)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from amct_lite.compat.cfg_lines import field_lines
from amct_lite.compat.cfg_parsing import parsed
from amct_lite.compat.mixed_descriptor import FILE_DESCRIPTOR
from amct_lite.compat.problems import Problems
from amct_lite.config.files import read_text
from amct_lite.record.schema import message_classes

_CLASSES = message_classes(FILE_DESCRIPTOR)
_WIDTHS = {"FLOAT": "float", "INT8": "W8A8", "INT4": "W4A4"}
_MOST = 16


@dataclass(frozen=True)
class MixedConfig:
    """compress_ratio: bit operations in float16 over those of the result. ptq_cfg: a simplified configuration, None for the
    defaults. limits: layer → the only widths it may have. without_effect: fields that change nothing here."""

    compress_ratio: float
    ptq_cfg: Path | None
    limits: Mapping[str, tuple[str, ...]]
    without_effect: tuple[str, ...]


def read_mixed_config(path: str | os.PathLike[str]) -> MixedConfig:
    """Raises ConfigError with all problems of the file at `path`, each with its line."""
    text = read_text(os.fspath(path))
    message = parsed(text, os.fspath(path), _CLASSES["AutoMixedPrecisionConfig"])
    lines, problems = field_lines(text), Problems(os.fspath(path))
    ratio = float(f"{message.compress_ratio:.7g}")  # a float32: 3.3, not 3.299999952316284
    line = lines.get((("compress_ratio", 0),))
    if not message.HasField("compress_ratio"):
        problems.add(
            None, "compress_ratio is missing: bit operations in float16 over those of the result, above 1 and at most 16"
        )
    elif not 1 < ratio <= _MOST:
        problems.add(line, f"compress_ratio = {ratio:g} must be above 1 and at most {_MOST}")
    ptq_cfg = Path(message.ptq_cfg) if message.ptq_cfg else None
    if ptq_cfg is not None and not ptq_cfg.is_file():
        problems.add(lines.get((("ptq_cfg", 0),)), f"ptq_cfg = {message.ptq_cfg!r} does not exist")
    limits: dict[str, tuple[str, ...]] = {}
    for number, limit in enumerate(message.quant_bit_limit):
        line = lines.get((("quant_bit_limit", number),))
        if not limit.layer_name or not limit.data_range:
            problems.add(line, "quant_bit_limit needs a layer_name and a data_range of FLOAT, INT8 or INT4")
        elif limit.layer_name in limits:
            problems.add(line, f"layer {limit.layer_name!r} is limited twice")
        names = _CLASSES["QuantBitLimit"].DESCRIPTOR.enum_types_by_name["DataType"].values_by_number
        limits[limit.layer_name] = tuple(_WIDTHS[names[value].name] for value in limit.data_range)
    problems.raise_if_any()
    ignored = tuple(name for name in ("test_iteration", "override_qat_cfg") if message.HasField(name))
    return MixedConfig(ratio, ptq_cfg, limits, ignored)
