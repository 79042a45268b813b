"""From sets of layers to metrics: each candidate is exported, written to a temporary folder and evaluated, once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from amct_lite import ir, scratch
from amct_lite.accuracy.ahead import Ahead, Candidate
from amct_lite.accuracy.evaluation import Metric, Referee
from amct_lite.accuracy.journal import MetricJournal
from amct_lite.analysis.ranking import Ranking
from amct_lite.errors import CalibrationError, DataError
from amct_lite.search.foresight import upcoming
from amct_lite.search.trials import Found, Judgement, Layers, Trials

MAX_EVALUATIONS = 50
"""How often the user's metric is measured at most, the float model included."""


@dataclass(frozen=True)
class Trial:
    """One model that was evaluated. in_float: the layers left in float, the most sensitive first; None: the float model
    itself. resumed: the metric comes from an interrupted run."""

    in_float: tuple[str, ...] | None
    metric: Metric
    acceptable: bool
    loss: float
    resumed: bool


@dataclass(frozen=True)
class Outcome:
    """What a search found. history: every trial, in order."""

    found: Found
    history: tuple[Trial, ...]

    @property
    def evaluations(self) -> int:
        """Calls of the user's `evaluate` in this run."""
        return sum(not trial.resumed for trial in self.history)

    @property
    def exports(self) -> int:
        """Candidates that were written in this run; the float model is the user's own file."""
        return sum(not trial.resumed and trial.in_float is not None for trial in self.history)


Strategy = Callable[[Ranking, Trials], Found]


@dataclass(frozen=True)
class Search:
    """float_model: the user's file. export: the fake-quant model with these layers in float. on_trial: told of each model
    that was evaluated. limit: of the evaluations, those of an interrupted run included, so that it ends as it would have.
    ahead: evaluates several models at a time; the strategy then must be a function of its trials alone."""

    float_model: Path
    ranking: Ranking
    export: Callable[[Layers], ir.Model]
    referee: Referee
    journal: MetricJournal
    limit: int = MAX_EVALUATIONS
    on_trial: Callable[[Trial], None] = lambda _trial: None
    ahead: Ahead | None = None

    def run(self, strategy: Strategy) -> Outcome:
        """Raises DataError when the evaluator does not even accept the float model, CalibrationError when nothing can be
        quantized, and what the evaluator is to blame for."""
        order = [layer for layer, _ in self.ranking]
        if not order:
            raise CalibrationError("no layer is quantized, so none can go back to float. Quantize layers, not tensors alone.")
        judged: dict[Layers, bool] = {}
        original, resumed = self._metric(None, strategy, judged)
        in_float = self.referee.judge(original, original)
        history = [self._told(Trial(None, original, in_float.acceptable, in_float.loss, resumed))]
        if not in_float.acceptable:
            raise DataError(
                f"{self.referee.source}: metric_eval({original}, {original}) is not acceptable, so not even the float model "
                "would do. Correct metric_eval, or what it compares with."
            )

        def judge(layers: Layers) -> Judgement:
            metric, resumed = self._metric(layers, strategy, judged)
            judgement = self.referee.judge(original, metric)
            judged[layers] = judgement.acceptable
            left = tuple(layer for layer in order if layer in layers)
            history.append(self._told(Trial(left, metric, judgement.acceptable, judgement.loss, resumed)))
            return judgement

        found = strategy(self.ranking, Trials(judge, order, budget=self.limit - 1, in_float=in_float))
        _require_something_quantized(found, history, order)
        return Outcome(found, tuple(history))

    def _metric(self, layers: Layers | None, strategy: Strategy, judged: Mapping[Layers, bool]) -> tuple[Metric, bool]:
        """The metric, and whether it was known from an interrupted run."""
        known = self.journal.find(layers)
        if known is not None:
            return known, True
        candidate = self._candidate(layers)
        if self.ahead is None:
            with scratch.folder() as folder:
                metric = self.referee.measure(candidate.write(folder), candidate.what)
        else:
            metric = self.ahead.metric(candidate, self._later(strategy, judged, self.ahead.count))
        self.journal.add(layers, metric)
        return metric, False

    def _candidate(self, layers: Layers | None) -> Candidate:
        if layers is None:
            return Candidate(None, "the float model", lambda _folder: self.float_model)
        what = f"the model with {len(layers)} of {len(self.ranking)} layers in float"
        return Candidate(layers, what, lambda folder: self._written(layers, folder))

    def _later(self, strategy: Strategy, judged: Mapping[Layers, bool], count: int) -> list[Candidate]:
        """What `strategy` may ask for next, as far as the limit allows."""
        order = [layer for layer, _ in self.ranking]

        def search(acceptable: Callable[[Layers], bool]) -> None:
            in_float = Judgement(acceptable=True, loss=0.0)
            trials = Trials(lambda layers: Judgement(acceptable(layers), 0.0), order, budget=self.limit - 1, in_float=in_float)
            strategy(self.ranking, trials)

        found = upcoming(search, judged, min(count, self.limit - 1 - len(judged)))
        return [self._candidate(layers) for layers in found if self.journal.find(layers) is None]

    def _written(self, layers: Layers, folder: Path) -> Path:
        path = folder / f"{len(layers)}_in_float_fake_quant_model.onnx"
        ir.save(self.export(layers), path)
        return path

    def _told(self, trial: Trial) -> Trial:
        self.on_trial(trial)
        return trial


def _require_something_quantized(found: Found, history: Sequence[Trial], order: Sequence[str]) -> None:
    if found.rolled_back != frozenset(order):
        return
    nearest = min(history[1:], key=lambda trial: trial.loss, default=None)
    told = f" The smallest loss was {nearest.loss:g}, with {len(nearest.in_float or ())} layers in float." if nearest else ""
    if found.budget_spent:
        why = f"the {len(history)} evaluations that were allowed found no acceptable candidate"
    elif found.minimal:
        why = f"whichever of the {len(order)} layers is quantized, the loss is not acceptable"
    else:
        why = f"none of the {len(history) - 1} candidates that the strategy named is acceptable"
    raise CalibrationError(
        f"no quantized model keeps the metric: {why}.{told} Allow a larger loss"
        f"{' or more evaluations' if found.budget_spent else ''}, or try other ranges (algorithm) and weight scales a channel."
    )
