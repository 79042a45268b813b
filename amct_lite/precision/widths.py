"""The widths that a layer can be given: their names, and a calibrated model with some for each layer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from amct_lite.calibrated import Calibrated
from amct_lite.config import Override, QuantConfig
from amct_lite.errors import ConfigError
from amct_lite.plan import ASCEND, ORT
from amct_lite.registry import did_you_mean
from amct_lite.roundings import rounders_of
from amct_lite.running import Progress
from amct_lite.runtime import RuntimeOptions
from amct_lite.types import LayerPlan
from amct_lite.weights import Rounder, make_weight_quantizer
from amct_lite.workers import Workers

DEFAULT = ("W8A16", "W8A8", "W4A8", "W4A4")
_NAME = re.compile(r"W(4|6|7|8)A(4|8|16)")
FLOATS = ("float", "float16", "float32")
"""The names of floats; `float` is all that are offered."""


@dataclass(frozen=True)
class Widths:
    """Bits of a layer's data and weight, both integers or both floats."""

    name: str
    data: int
    weight: int
    quantized: bool = True


FLOAT16 = Widths("float16", 16, 16, quantized=False)
FLOAT32 = Widths("float32", 32, 32, quantized=False)
FLOATS_OF: Mapping[str, tuple[Widths, ...]] = {
    ASCEND: (FLOAT16, FLOAT32),
    "generic": (FLOAT32, FLOAT16),
    ORT: (FLOAT32,),
}
"""Target → the floats that it computes in, the first one unless it is told otherwise: ATC takes float16 for all that it can
(`--precision_mode`), and float32 for nodes that it is given a list of (`--keep_dtype`). ONNX Runtime computes in what the model
says, but on a CPU float16 is only converted to and fro."""


def floats_named(names: Iterable[str], target: str) -> tuple[Widths, ...]:
    """The floats of `names` that `target` computes in; all of them where `names` have none, or `float`."""
    own, asked = FLOATS_OF[target], set(names)
    return own if "float" in asked else tuple(widths for widths in own if widths.name in asked) or own


def require_names(names: Iterable[str]) -> None:
    """Raises ConfigError for what is no name of widths."""
    for name in names:
        if name not in FLOATS and not _NAME.fullmatch(name):
            raise ConfigError(
                f"widths {name!r} are not known{did_you_mean(name, (*DEFAULT, *FLOATS))}. Write W and A with their bits, such "
                f"as {', '.join(DEFAULT)} (weights 4, 6, 7 or 8; activations 4, 8 or 16), or float."
            )


def widths_named(names: Iterable[str]) -> tuple[Widths, ...]:
    """The quantized widths called `names`; the float ones, which every layer has, are left out. Raises ConfigError."""
    chosen = tuple(dict.fromkeys(names))
    require_names(chosen)
    matches = (_NAME.fullmatch(name) for name in chosen)
    found = tuple(Widths(match[0], int(match[2]), int(match[1])) for match in matches if match)
    if not found:
        raise ConfigError(f"there is nothing to choose from but float. Name widths such as {', '.join(DEFAULT)}.")
    return found


@dataclass(frozen=True)
class Giver:
    """Gives layers widths. base: with the statistics of all; rounding: the weight method of weights with fewer than 8 bits
    that have no learned rounding yet, None to leave the method as it is. workers: share what is learned apart."""

    base: Calibrated
    rounding: str | None
    runtime: RuntimeOptions
    progress: Progress = lambda _stage, _done, _total: None
    workers: Workers | None = None

    def give(self, picks: Mapping[str, Widths]) -> Calibrated:
        """All layers of the plan of `base` with the widths of `picks`, decided from the same statistics."""
        return self.learned(self.decided(picks))

    def learned(self, decided: Calibrated, *, apart: bool = False) -> Calibrated:
        """`decided` with the roundings that its layers learn, behind one another, or each as if no other were
        quantized (`apart`)."""
        total = len(rounders_of(decided.plan))
        tell = partial(self.progress, "learn rounding")
        return decided.with_roundings(self.runtime, lambda layers: tell(layers, total), apart=apart, workers=self.workers)

    def decided(self, picks: Mapping[str, Widths]) -> Calibrated:
        """The same before roundings are learned."""
        quantized = {name: widths for name, widths in picks.items() if widths.quantized}
        decided = self.base.decided_for(self._settings(quantized))
        for kind in dict.fromkeys(widths for widths in picks.values() if not widths.quantized):
            left = [name for name, widths in picks.items() if widths == kind]
            reason = f"the search leaves it in {kind.name} (mixed precision)"
            decided = decided.without(dict.fromkeys(left, reason), half=kind == FLOAT16)
        return decided

    def _settings(self, quantized: Mapping[str, Widths]) -> QuantConfig:
        known = self.base.settings
        types = {layer.name: layer for layer in self.base.plan.layers}
        overrides = {
            name: replace(known.layers.get(name, Override()), **self._deviations(types[name], widths))  # type: ignore[arg-type]
            for name, widths in quantized.items()
        }
        return replace(known, layers={**known.layers, **overrides})

    def _deviations(self, layer: LayerPlan, widths: Widths) -> dict[str, object]:
        given: dict[str, object] = {"bits": widths.data}
        if layer.weight is None:
            return given
        given["weight_bits"] = widths.weight
        method = make_weight_quantizer(layer.weight_algorithm, dict(layer.weight_options))
        if widths.weight < 8 and self.rounding is not None and not isinstance(method, Rounder):
            given["weight_algorithm"] = self.rounding
        return given
