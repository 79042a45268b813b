"""Accuracy-based auto calibration: the data are read once, then layers go back to float until the user's metric is kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from amct_lite import ir, scratch
from amct_lite.accuracy.ahead import Ahead
from amct_lite.accuracy.candidates import MAX_EVALUATIONS, Outcome, Search, Trial
from amct_lite.accuracy.evaluation import Evaluator, Referee
from amct_lite.accuracy.journal import MetricJournal, journal_key
from amct_lite.analysis.ranking import Ranking, Sensitivity, rank_layers, require_sensitivity
from amct_lite.calibrated import Calibrated
from amct_lite.calibration.data import DataSource
from amct_lite.calibration.store import Statistics
from amct_lite.config import QuantConfig, format_config
from amct_lite.errors import CalibrationError, ConfigError
from amct_lite.pipeline import calibrate, conclude
from amct_lite.record import record_digest
from amct_lite.result import QuantizeResult
from amct_lite.running import RunOptions
from amct_lite.search.rollback import roll_back

REASON = "quantizing it costs too much of the metric (auto calibration)"


@dataclass(frozen=True)
class AutoCalibration:
    """result: the accepted quantization. in_float: the layers that went back to float, the most sensitive first.
    config: what gives the same quantization without a search. minimal: no single one of these layers can be quantized, which
    was tried; False where the limit of evaluations stopped that. passes: how often the data were read."""

    result: QuantizeResult
    in_float: tuple[str, ...]
    ranking: Ranking
    history: tuple[Trial, ...]
    config: QuantConfig
    minimal: bool
    evaluations: int
    exports: int
    passes: int

    def save(
        self, prefix: str | Path, *, inputs: Iterable[Path] = (), also: Mapping[str, str] | None = None
    ) -> tuple[Path, ...]:
        """`QuantizeResult.save`, and with it `<prefix>_config.json` and `<prefix>_autocalibration.json`."""
        texts = {"config.json": format_config(self.config, "json"), "autocalibration.json": self.to_json()}
        return self.result.save(prefix, inputs=inputs, also={**texts, **(also or {})})

    def to_json(self) -> str:
        """Ranking, history and cost of the search."""
        content = {
            "subject": asdict(self.result.report.subject) if self.result.report.subject else None,
            "in_float": self.in_float,
            "minimal": self.minimal,
            "evaluations": self.evaluations,
            "exports": self.exports,
            "passes_over_the_data": self.passes,
            "ranking": self.ranking,
            "history": [asdict(trial) for trial in self.history],
        }
        return json.dumps(content, indent=2) + "\n"


def autocalibrate(
    model: str | Path | ir.Model,
    data: DataSource | None,
    evaluator: Evaluator,
    *,
    config: QuantConfig | None = None,
    sensitivity: str | Sensitivity = "CosineSimilarity",
    max_evaluations: int = MAX_EVALUATIONS,
    statistics: str | Path | Statistics | None = None,
    journal: str | Path | None = None,
    tell: Callable[[str], None] = lambda _text: None,
    options: RunOptions | None = None,
    on_trial: Callable[[Trial], None] = lambda _trial: None,
) -> AutoCalibration:
    """`amct_lite.autocalibrate`, where all is said of the arguments; `config` has been read."""
    referee = Referee(evaluator)
    require_sensitivity(sensitivity)
    if max_evaluations < 2:
        raise ConfigError(f"max_evaluations = {max_evaluations} must be 2 or more: the float and one quantized model.")
    chosen = options or RunOptions()
    ahead = Ahead(evaluator, chosen.workers) if chosen.workers else None
    calibrated = calibrate(model, data, config, statistics=statistics, options=chosen)
    if not calibrated.calibration.feeds:
        raise CalibrationError("layers are ranked on samples: pass the data too, also with saved statistics.")
    base, ranking = _ranked(calibrated, sensitivity, chosen)
    decided = (record_digest(base.decision.record), base.settings.bias_correction)
    key = journal_key(base.source.prepared, decided, referee)
    kept = MetricJournal(Path(journal) if journal else None, key, "in_float", tell)
    with scratch.folder() as folder:
        search = Search(
            base.source.file(folder),
            ranking,
            lambda layers: (
                base.without(dict.fromkeys(layers, REASON)).with_biases(chosen.runtime).exports("generic").fake_quant
            ),
            referee,
            kept,
            max_evaluations,
            on_trial,
            ahead,
        )
        outcome = search.run(lambda ranked, trials: roll_back([name for name, _ in ranked], trials))
    accepted = base.without(dict.fromkeys(outcome.found.rolled_back, REASON))
    result = conclude(accepted, chosen)
    kept.remove()
    return _answer(result, accepted, ranking, outcome)


def _ranked(calibrated: Calibrated, sensitivity: str | Sensitivity, options: RunOptions) -> tuple[Calibrated, Ranking]:
    """The same with one bias correction for all candidates, the one that is settled on with everything quantized; and the
    ranking of its layers."""
    total = len(calibrated.decision.record.layers)
    settled = calibrated.with_biases(options.runtime, lambda layers: options.progress("correct biases", layers, total))
    options.progress("rank layers", 0, None)
    prepared, record = settled.source.prepared, settled.decision.record
    corrected = settled.exports("generic").corrected
    ranking = rank_layers(prepared, corrected, record, settled.calibration.feeds, sensitivity, options.runtime)
    method = settled.calibration.statistics.bias_correction
    return replace(settled, settings=replace(settled.settings, bias_correction=method)), ranking


def _answer(result: QuantizeResult, accepted: Calibrated, ranking: Ranking, outcome: Outcome) -> AutoCalibration:
    return AutoCalibration(
        result,
        tuple(name for name, _ in ranking if name in outcome.found.rolled_back),
        ranking,
        outcome.history,
        accepted.settings,
        outcome.found.minimal,
        outcome.evaluations,
        outcome.exports,
        accepted.data.passes if accepted.data else 0,
    )
