"""AMCT's accuracy-based auto calibration: its arguments and its files, on this package's search."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from amct_lite import ir, scratch
from amct_lite.accuracy.ahead import Ahead
from amct_lite.accuracy.candidates import Outcome, Search, Trial
from amct_lite.accuracy.evaluation import Evaluator, Referee, source_of
from amct_lite.accuracy.journal import MetricJournal, journal_key
from amct_lite.analysis.ranking import Ranking, Sensitivity, rank_layers, require_sensitivity
from amct_lite.build import build_exports
from amct_lite.calibration.store import Statistics
from amct_lite.calibration.user_code import running_user_code
from amct_lite.compat.api import PathLike
from amct_lite.compat.arguments import require_arguments
from amct_lite.compat.calibration_model import watches_in
from amct_lite.compat.console import on_console
from amct_lite.compat.json_writer import laid_out
from amct_lite.compat.kept_calibration import AS_IT_IS
from amct_lite.compat.kept_samples import read_samples, remove_samples
from amct_lite.compat.learned_roundings import learn_and_keep
from amct_lite.compat.outputs import export
from amct_lite.compat.preparing import open_job, write_balancing_model, write_calibration_model
from amct_lite.compat.quant_json import original_names
from amct_lite.compat.saving import finished_calibration
from amct_lite.compat.strategies import NAMES, AmctStrategy, strategy_of
from amct_lite.config.files import read_text
from amct_lite.errors import ConfigError
from amct_lite.files import output_path, require_writable, staged_outputs
from amct_lite.loading import SourceModel
from amct_lite.plan import resolve
from amct_lite.prebalance import balance_of, balanced
from amct_lite.record import format_record, obstacle, read_record, record_digest, split_key
from amct_lite.rounding.apply import apply_roundings
from amct_lite.roundings import rounders_of
from amct_lite.search.trials import Layers
from amct_lite.tensors import read_facts
from amct_lite.types import Feeds, QuantRecord
from amct_lite.workers import Workers, as_workers, require_picklable

_LOG = logging.getLogger(__name__)
_NAME = "accuracy_based_auto_calibration"


class AmctEvaluator(Evaluator, Protocol):
    """What AMCT's base class of evaluators asks for."""

    def calibration(self, modified_model_file: str, /) -> None: ...


@dataclass(frozen=True)
class _Calibrated:
    """What the only calibration leaves in the record and beside it. prepared: balanced as the record says. feeds: its first
    samples."""

    source: SourceModel
    prepared: ir.Model
    record: QuantRecord
    statistics: Statistics
    feeds: Sequence[Feeds]

    def without(self, layers: Layers) -> QuantRecord:
        """The record without these layers, and without the single tensors that their weights would then read."""
        kept = tuple(entry for entry in self.record.layers if entry.key not in layers)
        quantized = {entry.key for entry in kept if not entry.tensor_quantize}
        facts = read_facts(self.prepared) if len(quantized) < len(kept) else {}
        return QuantRecord(
            tuple(e for e in kept if not e.tensor_quantize or not obstacle(facts[split_key(e.key)[0]], quantized))
        )

    def candidate(self, in_float: Layers) -> ir.Model:
        """The fake-quant model; its biases stay as they are, as AMCT's do, and so do the weights of layers in float."""
        exports = build_exports(
            *(self.prepared, self.without(in_float)),
            target="generic",
            statistics=self.statistics,
            bias_correction="none",
            input_shapes={},
        )
        return exports.fake_quant


@on_console
def accuracy_based_auto_calibration(
    model_file: PathLike,
    model_evaluator: AmctEvaluator,
    config_file: PathLike,
    record_file: PathLike,
    save_dir: PathLike,
    strategy: str | AmctStrategy = "BinarySearch",
    sensitivity: str | Sensitivity = "CosineSimilarity",
    *,
    workers: Workers | Executor | None = None,
) -> None:
    """Quantize `model_file` with as few layers in float as `model_evaluator` accepts, and write the files of `save_model`.

    config_file: AMCT's JSON; it is not modified. save_dir: folder and prefix, as `save_path` elsewhere. Beside the models lie
    the ranking and the final configuration, in `amct_log/` next to save_dir the history. The record gets the layers that
    stay quantized. An interrupted run goes on from `<record_file>.autocalibration_journal.jsonl`.
    workers: evaluate candidates, several at a time (not in AMCT); the evaluator is sent to them after its calibration.
    Raises ConfigError for a name or an object that will not do, DataError for what the user's code is to blame for,
    CalibrationError when no quantized model is acceptable; the three JSON files are written only after success.
    """
    require_arguments(model_file=model_file, config_file=config_file, record_file=record_file, save_dir=save_dir)
    require_sensitivity(sensitivity)
    chosen = strategy_of(strategy)
    require_evaluator(model_evaluator)
    require_writable(save_dir)
    workers = as_workers(workers)
    if workers:
        _require_shareable(strategy, model_evaluator)
    content = _json_config(config_file)
    referee = Referee(model_evaluator)
    base = _calibrated(model_file, model_evaluator, config_file, record_file)
    rounded, _ = apply_roundings(base.prepared, base.record, base.statistics.roundings)
    ranking = rank_layers(base.prepared, rounded, base.record, base.feeds, sensitivity)
    kept = Path(f"{os.fspath(record_file)}.autocalibration_journal.jsonl")
    journal = MetricJournal(kept, journal_key(rounded, (record_digest(base.record), "none"), referee), "in_float", _LOG.info)
    ahead = Ahead(model_evaluator, workers) if workers else None
    search = Search(Path(model_file), ranking, base.candidate, referee, journal, on_trial=_tell, ahead=ahead)
    outcome = search.run(chosen)
    accepted = base.without(outcome.found.rolled_back)
    texts = _files(save_dir, ranking, outcome, content)
    inputs = [Path(model_file), Path(config_file)]
    with staged_outputs(inputs=inputs) as out:
        out.stage(record_file).write_text(format_record(accepted), encoding="utf-8")
        for path, text in texts.items():
            out.stage(path).write_text(text, encoding="utf-8")
    export(
        *(balanced(base.source, balance_of(accepted, fold=False)).prepared, record_file, save_dir),
        names=original_names(base.source),
        statistics=base.statistics,
        fusion=AS_IT_IS,
        inputs=inputs,
        balanced=True,
    )
    journal.remove()
    _tell_end(outcome, ranking)


def require_evaluator(evaluator: object) -> None:
    """Raises ConfigError for an object without the three methods of AMCT's evaluators."""
    missing = [n for n in ("calibration", "evaluate", "metric_eval") if not callable(getattr(evaluator, n, None))]
    if missing:
        raise ConfigError(
            f"the evaluator {type(evaluator).__name__} has no {' and no '.join(missing)}. Derive it from "
            "amct_lite.common.auto_calibration.AutoCalibrationEvaluatorBase and define the three methods."
        )


def _require_shareable(strategy: str | AmctStrategy, evaluator: AmctEvaluator) -> None:
    """Raises ConfigError for what gives workers nothing to do, or cannot be sent to them."""
    if not isinstance(strategy, str):
        raise ConfigError(
            f"the strategy {type(strategy).__name__} names one candidate at a time, which leaves nothing to workers. Leave "
            f"`workers` out, or choose {' or '.join(NAMES)}."
        )
    require_picklable(evaluator, "the evaluator")


def _json_config(config_file: PathLike) -> dict[str, Any]:
    """The tables of the file, whose final form is written from them."""
    try:
        content = json.loads(read_text(os.fspath(config_file)))
    except ValueError as error:
        raise ConfigError(
            f"{os.fspath(config_file)} is no JSON configuration ({error}). Make one with "
            "create_quant_config(config_file, model_file, config_defination=<your .cfg>)."
        ) from error
    if not isinstance(content, dict):
        raise ConfigError(f"{os.fspath(config_file)} holds no table. Make one with create_quant_config.")
    return content


def _calibrated(model_file: PathLike, evaluator: AmctEvaluator, config_file: PathLike, record_file: PathLike) -> _Calibrated:
    """Where the configuration balances layers, the evaluator's calibration runs twice, first for the factors."""
    job, record_path = open_job(Path(model_file), Path(config_file)), Path(record_file)
    with scratch.folder() as folder:
        modified = folder / "modified_model.onnx"
        running = partial(running_user_code, source_of(evaluator.calibration), "Correct the evaluator.", when="calibration")
        if job.balances:
            write_balancing_model(job, record_path, modified)
            with running():
                evaluator.calibration(str(modified))
        write_calibration_model(job, record_path, modified, keeps_samples=True)
        with running():
            evaluator.calibration(str(modified))
        statistics = finished_calibration(record_file, watches_in(ir.load(modified).model))
    assert statistics is not None  # the runs that completed the record wrote both
    record, feeds = read_record(record_file), read_samples(record_file, statistics.runs)
    prepared = balanced(job.source, balance_of(record, fold=False)).prepared
    rounders = rounders_of(resolve(job.config, prepared))
    statistics = learn_and_keep(record_file, statistics, prepared, record, rounders, feeds)
    remove_samples(record_file)
    return _Calibrated(job.source, prepared, record, statistics, feeds)


def _files(save_dir: PathLike, ranking: Ranking, outcome: Outcome, config: Mapping[str, Any]) -> dict[Path, str]:
    """AMCT's three files, by path."""
    final = dict(config)
    for layer in sorted(outcome.found.rolled_back):
        final[layer] = {**final.get(layer, {}), "quant_enable": False}
    history = [
        {
            "roll_back_config": {layer: layer not in trial.in_float for layer, _ in ranking},
            "metric_eval": [trial.acceptable, trial.loss],
        }
        for trial in outcome.history
        if trial.in_float is not None
    ]
    models = output_path(save_dir, "deploy_model.onnx").parent
    return {
        models / f"{_NAME}_ranking_information.json": laid_out(ranking),
        models / f"{_NAME}_final_config.json": laid_out(final),
        Path(save_dir).parent / "amct_log" / f"{_NAME}_record.json": laid_out(history),
    }


def _tell(trial: Trial) -> None:
    if trial.in_float is None:
        _LOG.info("float model: metric %s", trial.metric)
    else:
        verdict = "acceptable" if trial.acceptable else "not acceptable"
        _LOG.info("%d layers in float: metric %s, loss %g, %s", len(trial.in_float), trial.metric, trial.loss, verdict)


def _tell_end(outcome: Outcome, ranking: Ranking) -> None:
    left = [layer for layer, _ in ranking if layer in outcome.found.rolled_back]
    _LOG.info("%d of %d layers stay in float: %s", len(left), len(ranking), ", ".join(left) or "none")
    _LOG.info("%d evaluations, %d candidates exported, one calibration", outcome.evaluations, outcome.exports)
    if outcome.found.budget_spent:
        _LOG.warning("the limit of %d evaluations stopped the search: fewer layers in float may do.", len(outcome.history))
