"""Points of a search as models: exported, run on samples, and evaluated with the user's metric."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from amct_lite import ir, scratch
from amct_lite.accuracy.evaluation import Metric, Referee
from amct_lite.calibrated import Calibrated
from amct_lite.precision.costs import Meter
from amct_lite.precision.forecast import Forecast, Picks
from amct_lite.precision.journal import PointJournal
from amct_lite.precision.losses import Losses, loss_of, outputs_of
from amct_lite.precision.space import Offers
from amct_lite.precision.widths import FLOAT32, Giver
from amct_lite.reports.report import OutputError


@dataclass(frozen=True)
class Measured:
    """A model with these widths. estimate: what it was expected to lose; loss: what it really loses, error over signal
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
    """Measures points, each once. losses: of layers alone. float_model: the user's file, needed with a referee."""

    giver: Giver
    meter: Meter
    offers: Offers
    losses: Losses
    referee: Referee | None
    journal: PointJournal
    float_model: Path | None
    on_measured: Callable[[str, Measured], None] = lambda _name, _measured: None
    evaluations: int = 0
    _made: dict[frozenset[str], tuple[Calibrated, tuple[OutputError, ...]]] = field(default_factory=dict)
    _known: dict[frozenset[str], Measured] = field(default_factory=dict)
    _original: Metric | None = None

    @cached_property
    def forecast(self) -> Forecast:
        """What points are expected to lose; it measures the same widths for all layers first."""
        return Forecast.of(self.offers, self.losses, lambda picks: loss_of(self._make(picks)[1]))

    def measure(self, name: str, picks: Picks) -> Measured:
        """Export, run and, with a referee, evaluate the model with these widths. name: what to call it to the user."""
        key = _key(picks)
        if key not in self._known:
            self._known[key] = self._measured(picks)
            self.on_measured(name, self._known[key])
        return self._known[key]

    def calibrated(self, picks: Picks) -> Calibrated:
        """What was measured, to be exported."""
        return self._make(picks)[0]

    def _make(self, picks: Picks) -> tuple[Calibrated, tuple[OutputError, ...]]:
        """The model with these widths, and the errors of its outputs; none where all is float32."""
        key = _key(picks)
        if key not in self._made:
            given = self.giver.give({layer: self.offers.widths[name] for layer, name in picks.items()})
            errors: tuple[OutputError, ...] = ()
            self.giver.progress("measure points", 0, None)
            if set(picks.values()) != {FLOAT32.name}:
                given = given.with_biases(self.giver.runtime)
                errors = outputs_of(given.exports("generic").fake_quant, given, self.giver.runtime)
            self.giver.progress("measure points", 1, None)
            self._made[key] = given, errors
        return self._made[key]

    def _measured(self, picks: Picks) -> Measured:
        given, errors = self._make(picks)
        whole = set(picks.values()) == {FLOAT32.name}
        costs = self.meter.float_model() if whole else self.meter.total(given.decision.record, self.offers.bits(picks))
        figures = (costs.bitops, costs.weight_bytes, costs.peak_activation_bytes, self.forecast(picks), loss_of(errors), errors)
        if self.referee is None:
            return Measured(dict(picks), *figures)
        original = self._metric_of_float()
        if not errors:
            return Measured(dict(picks), *figures, original, 0.0, True)
        resumed = self.journal.find(picks)
        metric = self._evaluate(given.exports("generic").fake_quant, picks) if resumed is None else resumed
        judgement = self.referee.judge(original, metric)
        return Measured(dict(picks), *figures, metric, judgement.loss, judgement.acceptable, resumed is not None)

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

    def _evaluate(self, model: ir.Model, picks: Picks) -> Metric:
        assert self.referee is not None
        with scratch.folder() as folder:
            path = folder / "candidate_fake_quant_model.onnx"
            ir.save(model, path)
            metric = self.referee.measure(path, "a model of mixed precision")
        self.evaluations += 1
        self.journal.add(picks, metric)
        return metric


def _key(picks: Picks) -> frozenset[str]:
    return frozenset(f"{layer}={name}" for layer, name in picks.items())
