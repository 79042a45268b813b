"""Reads one CalibrationConfig of the simplified configuration: how a layer's activation and weight are quantized."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from amct_lite.compat import json_keys as keys
from amct_lite.compat.cfg_lines import Path
from amct_lite.compat.problems import Problems
from amct_lite.compat.settings import (
    LayerSettings,
    Options,
    ada_options,
    ada_problem,
    channel_wise,
    channel_wise_by_default,
    option_problem,
    with_defaults,
)
from amct_lite.config.values import WEIGHT_BITS, BadValueError

_INT16 = 2  # of the enumeration dst_type; INT8 is 1
_IFMR = ("max_percentile", "min_percentile", "search_step")


@dataclass(frozen=True)
class LayerReader:
    """symmetric: of an activation that says nothing of it."""

    lines: Mapping[Path, int]
    problems: Problems
    symmetric: bool

    def read(self, message: Any, path: Path, where: str, op_type: str | None = None) -> LayerSettings:
        """The settings of the CalibrationConfig `message`, which stands at `path`.

        where: what it belongs to, for messages. op_type: of the layers it is for, None when they are of all types (then
        `channel_wise` holds for those that can have it).
        """
        weight = "ada_quantize" if message.HasField("ada_quantize") else "arq_quantize"
        inner, inner_path = getattr(message, weight), (*path, (weight, 0))
        bits = self._weight_bits(inner, inner_path, where) if weight == "arq_quantize" else 8
        per_channel = self._channel_wise(inner, inner_path, f"{where}: {weight}", where, op_type)
        ada = self._ada(inner, inner_path, where) if weight == "ada_quantize" else None
        return replace(
            self.read_activation(message, path, where),
            per_channel=per_channel,
            ada=ada,
            balance=self._balance(message, path, where),
            weight_bits=bits,
        )

    def read_activation(self, message: Any, path: Path, where: str) -> LayerSettings:
        """The same of a message that has the range methods alone, or besides."""
        if message.HasField("hfmg_quantize"):
            return self._activation("hfmg", message.hfmg_quantize, path, where)
        return self._activation("ifmr", message.ifmr_quantize, path, where)

    def _balance(self, message: Any, path: Path, where: str) -> float:
        """The migration strength; 0 where nothing is balanced."""
        if not message.HasField("dmq_balancer"):
            return 0.0
        strength = _decimal(message.dmq_balancer.migration_strength)
        try:
            return float(str(keys.balancer(strength)))
        except BadValueError as error:
            place = (*path, ("dmq_balancer", 0), ("migration_strength", 0))
            self._add(place, f"{where}: dmq_balancer.migration_strength = {strength} {error}")
            return 0.0

    def _ada(self, message: Any, path: Path, where: str) -> Options:
        given = {
            "num_iteration": message.num_iteration,
            "reg_param": _decimal(message.reg_param),
            "beta_range": (_decimal(message.beta_range_start), _decimal(message.beta_range_end)),
            "warm_start": _decimal(message.warm_start),
        }
        options = {}
        for name, value in given.items():
            if problem := ada_problem({name: value}):
                line = next(
                    (found for end in ("", "_start", "_end") if (found := self.lines.get((*path, (f"{name}{end}", 0))))), None
                )
                self.problems.add(line, f"{where}: ada_quantize cannot be used: {problem}")
            else:
                options[name] = value
        return ada_options(options)

    def _weight_bits(self, message: Any, path: Path, where: str) -> int:
        bits: int = message.quant_bits if message.HasField("quant_bits") else 8
        if bits not in WEIGHT_BITS:
            choices = ", ".join(map(str, WEIGHT_BITS))
            sentence = f"{where}: arq_quantize.quant_bits = {bits} must be one of {choices}. Use 8"
            self._add((*path, ("quant_bits", 0)), sentence)
            return 8
        return bits

    def _channel_wise(self, message: Any, path: Path, method: str, where: str, op_type: str | None) -> bool | None:
        if not message.HasField("channel_wise"):
            return None
        if op_type is None:
            common = where == "common_config"
            return None if common and message.channel_wise else message.channel_wise
        if message.channel_wise and not channel_wise_by_default(op_type):
            sentence = f"{method}.channel_wise must be false: {op_type} has one weight scale in AMCT's contract"
            self._add((*path, ("channel_wise", 0)), sentence)
        return channel_wise(message.channel_wise, op_type)

    def _activation(self, algorithm: str, message: Any, base: Path, where: str) -> LayerSettings:
        path = (*base, (f"{algorithm}_quantize", 0))
        bits = 16 if message.HasField("dst_type") and message.dst_type == _INT16 else 8
        options: dict[str, object] = {}
        for name, value in self._options(algorithm, message).items():
            if problem := option_problem(algorithm, {name: value}):
                key = name if message.DESCRIPTOR.fields_by_name.get(name) else f"{name}_end"
                line = self.lines.get((*path, (key, 0))) or self.lines.get((*path, (f"{name}_start", 0)))
                self.problems.add(line, f"{where}: {algorithm}_quantize cannot be used: {problem}")
            else:
                options[name] = value
        if problem := option_problem(algorithm, options):
            self._add(path, f"{where}: {algorithm}_quantize cannot be used: {problem}")
        symmetric = not message.asymmetric if message.HasField("asymmetric") else self.symmetric
        return LayerSettings(algorithm, with_defaults(algorithm, options), symmetric, bits=bits)

    @staticmethod
    def _options(algorithm: str, message: Any) -> dict[str, object]:
        """The options that are given, by the range method's names."""
        if algorithm == "hfmg":
            return {"num_of_bins": message.num_of_bins}
        options: dict[str, object] = {name: _decimal(getattr(message, name)) for name in _IFMR}
        options["search_range"] = (_decimal(message.search_range_start), _decimal(message.search_range_end))
        return options

    def _add(self, path: Path, sentence: str) -> None:
        self.problems.add(self.lines.get(path), sentence)


def _decimal(value: float) -> float:
    """The shortest decimal of a float32: 0.7, not 0.699999988."""
    return float(str(np.float32(value)))
