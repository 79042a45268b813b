"""What a search may spend: text such as `bitops=0.25`, and the number that it means for a model."""

from __future__ import annotations

import re
from dataclasses import dataclass

from amct_lite.errors import ConfigError
from amct_lite.registry import did_you_mean
from amct_lite.search.integer_program import require_scipy

BITOPS = "bitops"
COSTS = (BITOPS, "bytes")
MAX_LOSS = "max-loss"
LARGEST_SHARE = 4.0
"""The bitops of float32 are 4 times those of float16, which shares refer to."""
_UNITS = {"": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_NUMBER = re.compile(r"(\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+)\s*(%|[kMGT]?)")
_SYNTAX = (
    "Write bitops=0.25 (a share of the float16 model's), bitops=1.5G, bytes=0.25 (a share of the float32 weights), bytes=900k, "
    "or max-loss=0.01."
)


@dataclass(frozen=True)
class Budget:
    """kind: bitops, bytes (of weights) or max-loss. value: a share up to LARGEST_SHARE, else absolute; a loss in units of the
    metric. of_layers: a share is one of the layers that can be quantized, not of the whole model."""

    kind: str
    value: float
    of_layers: bool = False

    def __post_init__(self) -> None:
        kinds = (*COSTS, MAX_LOSS)
        if self.kind not in kinds:
            raise ConfigError(f"the budget {self.kind!r} is not known{did_you_mean(self.kind, kinds)}. {_SYNTAX}")
        if not 0 <= self.value < float("inf") or (self.value == 0 and self.kind != MAX_LOSS):
            raise ConfigError(f"the budget {self.kind}={self.value:g} must be a number above 0. {_SYNTAX}")

    @staticmethod
    def parse(text: str) -> Budget:
        """Raises ConfigError."""
        kind, equals, number = (part.strip() for part in text.partition("="))
        match = _NUMBER.fullmatch(number)
        if not equals or (match is None and kind in {*COSTS, MAX_LOSS}):
            raise ConfigError(f"--budget {text!r} is not understood. {_SYNTAX}")
        if match is None:
            return Budget(kind, 1.0)  # raises: the kind is what is wrong first
        unit = match[2]
        if kind == MAX_LOSS and unit:
            raise ConfigError(f"--budget {text!r}: a loss is a plain number in the units of the metric. {_SYNTAX}")
        return Budget(kind, float(match[1]) * (0.01 if unit == "%" else _UNITS[unit]))

    def require_solver(self) -> None:
        """Raises ConfigError where the optimum within it is found by SciPy, which is not installed. A loss needs none."""
        if self.kind in COSTS:
            require_scipy()

    @property
    def cost(self) -> str:
        """What the points of the front are sorted by."""
        return self.kind if self.kind in COSTS else COSTS[0]

    def units(self, whole: int, fixed: int = 0) -> int:
        """The most that may be spent, where the float model costs `whole`, `fixed` of it beside the layers."""
        if self.of_layers:
            return fixed + int(self.value * (whole - fixed) + 1e-9)
        return int(self.value * whole + 1e-9) if self.value <= LARGEST_SHARE else int(self.value)

    def __str__(self) -> str:
        return f"{self.kind}={self.value:g}"
