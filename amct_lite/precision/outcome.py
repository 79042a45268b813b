"""What a search for mixed precision found: the point, its neighbours, the front, the strategies beside it; and writing it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from amct_lite.analysis.figures import finite
from amct_lite.config import QuantConfig, format_config
from amct_lite.plan import ASCEND
from amct_lite.precision.budget import Budget
from amct_lite.precision.choosing import Prices
from amct_lite.precision.losses import Losses
from amct_lite.precision.measured import Measured
from amct_lite.precision.widths import FLOAT32
from amct_lite.result import QuantizeResult
from amct_lite.search.knapsack import Point


@dataclass(frozen=True)
class Strategy:
    """One way to quantize the whole model. latency_ms: of one run on ONNX Runtime's CPU; None where it has no integer kernels
    for these widths and computes in float."""

    name: str
    measured: Measured
    latency_ms: float | None = None


@dataclass(frozen=True)
class Found:
    """result: the chosen point, exported and verified. config: what gives the same without a search. chosen: with what was
    measured; cheaper, dearer: its neighbours on the front, None at its ends. front: the supported points, the cheapest first;
    costs are those of the layers, beside which `prices.fixed` cannot be changed. together: layers that had to agree.
    strategies: float, each widths for all, mixed. evaluations: calls of the user's `evaluate`; passes: over the data."""

    result: QuantizeResult
    config: QuantConfig
    budget: Budget
    prices: Prices
    chosen: Measured
    cheaper: Measured | None
    dearer: Measured | None
    front: tuple[Point, ...]
    together: tuple[tuple[str, ...], ...]
    strategies: tuple[Strategy, ...]
    losses: Losses
    notes: tuple[str, ...]
    evaluations: int
    passes: int

    @property
    def kept_wide(self) -> tuple[str, ...]:
        """The layers of a deploy model for ATC that were chosen to compute in float32, which it does only if told."""
        chosen = self.chosen.picks.items() if self.config.target == ASCEND else ()
        return tuple(layer for layer, name in chosen if name == FLOAT32.name)

    def save(
        self, prefix: str | Path, *, inputs: Iterable[Path] = (), also: Mapping[str, str] | None = None
    ) -> tuple[Path, ...]:
        """`QuantizeResult.save`, and with it `<prefix>_config.json` and `<prefix>_search.json`; where ATC is to compute layers
        in float32 also `<prefix>_keep_dtype.cfg`, which tells it."""
        texts = {"config.json": format_config(self.config, "json"), "search.json": self.to_json()}
        if wide := self.kept_wide:
            texts["keep_dtype.cfg"] = "\n".join(wide) + "\n"
        return self.result.save(prefix, inputs=inputs, also={**texts, **(also or {})})

    def to_json(self) -> str:
        """Everything but the models and the latencies, which are never the same twice. What is not finite is null."""
        total = [{"cost": point.cost + self.prices.fixed, "loss": point.loss, "widths": point.picks} for point in self.front]
        content = {
            "model": self.result.report.model,
            "subject": asdict(self.result.report.subject) if self.result.report.subject else None,
            "budget": {"kind": self.budget.kind, "value": self.budget.value},
            "cost": self.prices.what,
            "cost_of_the_float_model": self.prices.whole,
            "chosen": _measured(self.chosen),
            "cheaper": _measured(self.cheaper),
            "dearer": _measured(self.dearer),
            "strategies": [{"name": s.name, **_measured(s.measured, widths=False)} for s in self.strategies],
            "together": self.together,
            "front": total,
            "losses": self.losses,
            "notes": self.notes,
            "evaluations": self.evaluations,
            "passes_over_the_data": self.passes,
        }
        return json.dumps(finite(content), indent=1, ensure_ascii=False) + "\n"


def _measured(point: Measured | None, *, widths: bool = True) -> Any:
    if point is None:
        return None
    return {
        **({"widths": point.picks} if widths else {}),
        "layers": point.counts,
        "bitops": point.bitops,
        "weight_bytes": point.weight_bytes,
        "peak_activation_bytes": point.peak_activation_bytes,
        "estimated_loss": point.estimate,
        "loss": point.loss,
        "sqnr_db": point.sqnr_db,
        "outputs": {error.name: {"sqnr_db": error.sqnr_db, "cosine": error.cosine} for error in point.outputs},
        "metric": point.metric,
        "metric_loss": point.metric_loss,
    }
