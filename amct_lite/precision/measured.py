"""Points of a search as models: exported, run on samples, and evaluated with the user's metric."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from amct_lite.accuracy.evaluation import Metric, Referee
from amct_lite.accuracy.journal import MetricJournal
from amct_lite.calibrated import Calibrated
from amct_lite.precision.ahead import FLOAT_MODEL, Key, PointsAhead, evaluated, evaluated_float, key_of, make
from amct_lite.precision.costs import Meter
from amct_lite.precision.forecast import Forecast, Picks
from amct_lite.precision.losses import Losses, loss_of
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
    """Measures points, each once. losses: of layers alone. float_model: the user's file, needed with a referee. ahead: makes
    several points at a time; what is found is the same."""

    giver: Giver
    meter: Meter
    offers: Offers
    losses: Losses
    referee: Referee | None
    journal: MetricJournal
    float_model: Path | None
    on_measured: Callable[[str, Measured], None] = lambda _name, _measured: None
    ahead: PointsAhead | None = None
    evaluations: int = 0
    _made: dict[Key, tuple[Calibrated, tuple[OutputError, ...]]] = field(default_factory=dict)
    _known: dict[Key, Measured] = field(default_factory=dict)
    _original: Metric | None = None

    @cached_property
    def forecast(self) -> Forecast:
        """What points are expected to lose; it measures the same widths for all layers first."""
        return Forecast.of(self.offers, self.losses, lambda picks: loss_of(self._make(picks)[1]))

    @property
    def known(self) -> tuple[Measured, ...]:
        """What was measured so far."""
        return tuple(self._known.values())

    def is_ahead(self, picks: Picks) -> bool:
        """Whether nothing is to be gained any more by telling `expect` of this point."""
        key = key_of(picks)
        return self.ahead is None or key in self._made or key in self.ahead or _is_float(picks)

    def expect(self, several: Iterable[Picks], only_made: Iterable[Picks] = ()) -> None:
        """These points are asked for next, or may be: workers make them at the same time. only_made: not to be evaluated."""
        if self.ahead is None:
            return
        wanted: dict[Key, bool] = {}
        if self.referee is not None and self._original is None and self.journal.find(None) is None:
            wanted[FLOAT_MODEL] = True
        for picks in several:
            if not self.is_ahead(picks):
                wanted[key_of(picks)] = self.referee is not None and self.journal.find(picks) is None
        for picks in only_made:
            if not self.is_ahead(picks):
                wanted.setdefault(key_of(picks), False)
        self.giver.progress("measure points", 0, None)
        self.ahead.make(wanted.items())

    def measure(self, name: str, picks: Picks) -> Measured:
        """Export, run and, with a referee, evaluate the model with these widths. name: what to call it to the user."""
        key = key_of(picks)
        if key not in self._known:
            self.expect([picks])
            self._known[key] = self._measured(picks)
            self.on_measured(name, self._known[key])
        return self._known[key]

    def calibrated(self, picks: Picks) -> Calibrated:
        """What was measured, to be exported."""
        return self._make(picks)[0]

    def _make(self, picks: Picks) -> tuple[Calibrated, tuple[OutputError, ...]]:
        """The model with these widths, and the errors of its outputs; none where all is float32."""
        key = key_of(picks)
        if key not in self._made:
            widths = {layer: self.offers.widths[name] for layer, name in picks.items()}
            found = self.ahead.made(key) if self.ahead else None
            self.giver.progress("measure points", 0, None)
            if _is_float(picks):
                self._made[key] = self.giver.give(widths), ()
            elif found is not None:
                self._made[key] = found.onto(self.giver.decided(widths)), found.errors
            else:
                given, _, errors = make(self.giver, widths)
                self._made[key] = given, errors
            self.giver.progress("measure points", 1, None)
        return self._made[key]

    def _measured(self, picks: Picks) -> Measured:
        given, errors = self._make(picks)
        whole = _is_float(picks)
        costs = self.meter.float_model() if whole else self.meter.total(given.decision.record, self.offers.bits(picks))
        figures = (costs.bitops, costs.weight_bytes, costs.peak_activation_bytes, self.forecast(picks), loss_of(errors), errors)
        if self.referee is None:
            return Measured(dict(picks), *figures)
        original = self._metric_of_float()
        if not errors:
            return Measured(dict(picks), *figures, original, 0.0, True)
        resumed = self.journal.find(picks)
        metric = self._evaluate(given, picks) if resumed is None else resumed
        judgement = self.referee.judge(original, metric)
        return Measured(dict(picks), *figures, metric, judgement.loss, judgement.acceptable, resumed is not None)

    def _metric_of_float(self) -> Metric:
        assert self.referee is not None
        if self._original is None:
            self._original = self.journal.find(None)
        if self._original is None:
            assert self.float_model is not None
            found = self.ahead.metric(FLOAT_MODEL) if self.ahead else None
            self._original = evaluated_float(self.float_model, self.referee) if found is None else found
            self.evaluations += 1
            self.journal.add(None, self._original)
        return self._original

    def _evaluate(self, given: Calibrated, picks: Picks) -> Metric:
        assert self.referee is not None
        found = self.ahead.metric(key_of(picks)) if self.ahead else None
        metric = evaluated(given.exports("generic").fake_quant, self.referee) if found is None else found
        self.evaluations += 1
        self.journal.add(picks, metric)
        return metric


def _is_float(picks: Picks) -> bool:
    return set(picks.values()) == {FLOAT32.name}
