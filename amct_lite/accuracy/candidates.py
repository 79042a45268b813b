"""From sets of layers to metrics: each candidate is exported, written to a temporary folder and evaluated, once."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from amct_lite import ir
from amct_lite.accuracy.evaluation import Metric, Referee
from amct_lite.accuracy.journal import Journal
from amct_lite.analysis.ranking import Ranking
from amct_lite.errors import CalibrationError, DataError
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
    that was evaluated. limit: of the evaluations, those of an interrupted run included, so that it ends as it would have."""

    float_model: Path
    ranking: Ranking
    export: Callable[[Layers], ir.Model]
    referee: Referee
    journal: Journal
    limit: int = MAX_EVALUATIONS
    on_trial: Callable[[Trial], None] = lambda _trial: None

    def run(self, strategy: Strategy) -> Outcome:
        """Raises DataError when the evaluator does not even accept the float model, CalibrationError when nothing can be
        quantized, and what the evaluator is to blame for."""
        order = [layer for layer, _ in self.ranking]
        if not order:
            raise CalibrationError("no layer is quantized, so none can go back to float. Quantize layers, not tensors alone.")
        original, resumed = self._metric(None, lambda _folder: self.float_model)
        in_float = self.referee.judge(original, original)
        history = [self._told(Trial(None, original, in_float.acceptable, in_float.loss, resumed))]
        if not in_float.acceptable:
            raise DataError(
                f"{self.referee.source}: metric_eval({original}, {original}) is not acceptable, so not even the float model "
                "would do. Correct metric_eval, or what it compares with."
            )

        def judge(layers: Layers) -> Judgement:
            metric, resumed = self._metric(layers, lambda folder: self._written(layers, folder))
            judgement = self.referee.judge(original, metric)
            left = tuple(layer for layer in order if layer in layers)
            history.append(self._told(Trial(left, metric, judgement.acceptable, judgement.loss, resumed)))
            return judgement

        found = strategy(self.ranking, Trials(judge, order, budget=self.limit - 1, in_float=in_float))
        _require_something_quantized(found, history, order)
        return Outcome(found, tuple(history))

    def _metric(self, layers: Layers | None, model: Callable[[Path], Path]) -> tuple[Metric, bool]:
        """The metric, and whether it was known from an interrupted run. model: makes the model, in a folder of its own."""
        known = self.journal.find(layers)
        if known is not None:
            return known, True
        what = "the float model" if layers is None else f"the model with {len(layers)} of {len(self.ranking)} layers in float"
        with tempfile.TemporaryDirectory(prefix="amct_lite_") as folder:
            metric = self.referee.measure(model(Path(folder)), what)
        self.journal.add(layers, metric)
        return metric, False

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
    why = (
        f"the {len(history)} evaluations that were allowed found no acceptable candidate"
        if found.budget_spent
        else f"whichever of the {len(order)} layers is quantized, the loss is not acceptable"
    )
    raise CalibrationError(
        f"no quantized model keeps the metric: {why}.{told} Allow a larger loss"
        f"{' or more evaluations' if found.budget_spent else ''}, or try other ranges (algorithm) and weight scales a channel."
    )
