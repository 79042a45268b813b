"""Points of a search as models: exported, run on samples, and evaluated with the user's metric."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from amct_lite import ir
from amct_lite.accuracy.evaluation import Metric, Referee
from amct_lite.calibrated import Calibrated
from amct_lite.precision.costs import Meter
from amct_lite.precision.journal import PointJournal
from amct_lite.precision.losses import loss_of, outputs_of
from amct_lite.precision.space import Offers
from amct_lite.precision.widths import FLOAT32, Giver
from amct_lite.reports.report import OutputError
from amct_lite.types import QuantRecord


@dataclass(frozen=True)
class Measured:
    """A model with these widths. estimate: the sum of the losses of its layers; loss: what it really loses, error over signal
    at the outputs; outputs: each of them. metric: of the user's evaluator, metric_loss: what of it is lost, acceptable: what
    the evaluator says to that; None without one. resumed: the metric comes from an interrupted run."""

    picks: Mapping[str, str]
    bitops: int
    weight_bytes: int
    peak_activation_bytes: int
    estimate: float
    loss: float
    outputs: tuple[OutputError, ...] = ()
    metric: Metric | None = None
    metric_loss: float | None = None
    acceptable: bool | None = None
    resumed: bool = False

    @property
    def sqnr_db(self) -> float:
        """Of the worst output."""
        return min((error.sqnr_db for error in self.outputs), default=float("inf"))

    @property
    def counts(self) -> dict[str, int]:
        """Widths → how many layers have them."""
        names = list(self.picks.values())
        return {name: names.count(name) for name in dict.fromkeys(names)}


@dataclass
class Bench:
    """Measures points, each once. estimate: the loss that is expected of picks. float_model: the user's file, needed with a
    referee."""

    giver: Giver
    meter: Meter
    offers: Offers
    estimate: Callable[[Mapping[str, str]], float]
    referee: Referee | None
    journal: PointJournal
    float_model: Path | None
    on_measured: Callable[[str, Measured], None] = lambda _name, _measured: None
    evaluations: int = 0
    _known: dict[frozenset[str], tuple[Measured, Calibrated]] = field(default_factory=dict)
    _original: Metric | None = None

    def measure(self, name: str, picks: Mapping[str, str]) -> Measured:
        """Export, run and, with a referee, evaluate the model with these widths. name: what to call it to the user."""
        known = len(self._known)
        found = self._both(picks)[0]
        if len(self._known) > known:
            self.on_measured(name, found)
        return found

    def calibrated(self, picks: Mapping[str, str]) -> Calibrated:
        """What was measured, to be exported."""
        return self._both(picks)[1]

    def _both(self, picks: Mapping[str, str]) -> tuple[Measured, Calibrated]:
        key = frozenset(f"{layer}={name}" for layer, name in picks.items())
        if key not in self._known:
            given = self.giver.give({layer: self.offers.widths[name] for layer, name in picks.items()})
            self.giver.progress("measure points", 0, None)
            if set(picks.values()) == {FLOAT32.name}:
                found = self._in_float32(picks)
            else:
                given = given.with_biases(self.giver.runtime)
                found = self._measured(picks, given)
            self.giver.progress("measure points", 1, None)
            self._known[key] = found, given
        return self._known[key]

    def _measured(self, picks: Mapping[str, str], given: Calibrated) -> Measured:
        model = given.exports("generic").fake_quant
        errors = outputs_of(model, given, self.giver.runtime)
        costs = self.meter.total(given.decision.record, self.offers.bits(picks))
        figures = (costs.bitops, costs.weight_bytes, costs.peak_activation_bytes, self.estimate(picks), loss_of(errors), errors)
        if self.referee is None:
            return Measured(dict(picks), *figures)
        original = self._metric_of_float()
        resumed = self.journal.find(picks)
        metric = self._evaluate(model, picks) if resumed is None else resumed
        judgement = self.referee.judge(original, metric)
        return Measured(dict(picks), *figures, metric, judgement.loss, judgement.acceptable, resumed is not None)

    def _in_float32(self, picks: Mapping[str, str]) -> Measured:
        costs = self.meter.total(QuantRecord(()), self.offers.bits(picks))
        figures = (costs.bitops, costs.weight_bytes, costs.peak_activation_bytes)
        if self.referee is None:
            return Measured(dict(picks), *figures, 0.0, 0.0)
        return Measured(dict(picks), *figures, 0.0, 0.0, (), self._metric_of_float(), 0.0, True)

    def _metric_of_float(self) -> Metric:
        assert self.referee is not None
        if self._original is None:
            self._original = self.journal.find(None)
        if self._original is None:
            assert self.float_model is not None
            self._original = self.referee.measure(self.float_model, "the float model")
            self.evaluations += 1
            self.journal.add(None, self._original)
        return self._original

    def _evaluate(self, model: ir.Model, picks: Mapping[str, str]) -> Metric:
        assert self.referee is not None
        with tempfile.TemporaryDirectory(prefix="amct_lite_") as folder:
            path = Path(folder) / "candidate_fake_quant_model.onnx"
            ir.save(model, path)
            metric = self.referee.measure(path, "a model of mixed precision")
        self.evaluations += 1
        self.journal.add(picks, metric)
        return metric
