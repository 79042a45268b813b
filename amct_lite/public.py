"""The functions of the package as its users call them: wherever a configuration is taken, a file of any format will do.

    .yaml .toml .json (this package's own tables) · .json .cfg (AMCT's)

What a file of AMCT's means depends on the model it is for, so files are read here, where both are known.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from amct_lite import converting, ir, pipeline
from amct_lite.accuracy import auto as accuracy
from amct_lite.accuracy.auto import AutoCalibration
from amct_lite.accuracy.candidates import MAX_EVALUATIONS, Trial
from amct_lite.accuracy.evaluation import Evaluator, evaluator_of
from amct_lite.analysis.ranking import Sensitivity
from amct_lite.calibration.data import DataSource
from amct_lite.calibration.store import Statistics
from amct_lite.compat.configs import is_amct_config, load_any_config, load_configured
from amct_lite.config import QuantConfig
from amct_lite.files import output_path
from amct_lite.inspection import Inspection
from amct_lite.inspection import inspect as inspect_with
from amct_lite.loading import Qdq
from amct_lite.page.gather import read_page
from amct_lite.page.writing import write_page
from amct_lite.precision import mixed
from amct_lite.precision.budget import Budget
from amct_lite.precision.measured import Measured
from amct_lite.precision.outcome import Found
from amct_lite.precision.request import ROUNDING, Request
from amct_lite.precision.widths import DEFAULT
from amct_lite.result import QuantizeResult
from amct_lite.running import RunOptions
from amct_lite.types import QuantRecord

Model = str | Path | ir.Model
Config = QuantConfig | Mapping[str, object] | str | os.PathLike[str] | None
"""None: the defaults. A mapping: the tables of a configuration file, as YAML and JSON have them."""


def quantize(
    model: Model,
    data: DataSource | None = None,
    config: Config = None,
    *,
    target: str | None = None,
    statistics: str | Path | Statistics | None = None,
    options: RunOptions | None = None,
) -> QuantizeResult:
    """Calibrate `model` on `data`, then build, run and compare all that is exported. Nothing is written; `.save(prefix)` does.

    data: an iterable of feeds (input name → array), an array of samples (a dict of them for several inputs), or a path:
    .npz/.npy files or folders, images, a loader.py. config: None for the defaults, a file of any format, or the tables of one
    as a dict. target: "ascend", "ort" or "generic"; None: what `config` says. statistics: a saved calibration
    (`<prefix>_calibration.npz`) to decide from without running the model again; `data` may then be left out, and with it the
    comparison on real data.
    A deploy model that cannot be, because a shape is open, is no error here, as all else is of use: `.report.deploy_problem`
    says why there is none.
    Raises the AmctError of the stage that cannot go on; VerificationError when an exported model does not do what it must.
    """
    return pipeline.quantize(
        model,
        data,
        _settings(config, model, target, "strip" if options and options.strip_qdq else "refuse"),
        statistics=statistics,
        options=options,
    )


def autocalibrate(
    model: Model,
    data: DataSource | None,
    evaluate: Callable[[str], float] | Evaluator,
    *,
    max_loss: float | None = None,
    lower_is_better: bool = False,
    config: Config = None,
    target: str | None = None,
    sensitivity: str | Sensitivity = "CosineSimilarity",
    max_evaluations: int = MAX_EVALUATIONS,
    statistics: str | Path | Statistics | None = None,
    journal: str | Path | None = None,
    tell: Callable[[str], None] = lambda _text: None,
    options: RunOptions | None = None,
    on_trial: Callable[[Trial], None] = lambda _trial: None,
) -> AutoCalibration:
    """`quantize`, with as few layers left in float as it takes to keep a metric. Nothing is written; `.save(prefix)` does.

    evaluate: path of an ONNX model → its metric, of which `max_loss` may be lost, absolute; or an object with `evaluate` and
    `metric_eval`, as AMCT has them. lower_is_better: the metric is an error. sensitivity: what the layers are ranked by:
    CosineSimilarity, MseSimilarity, SQNR, or an object with `compare(original, quantized)`. max_evaluations: calls of
    `evaluate` at most, the one for the float model included. journal: a file that keeps the metrics of an interrupted run,
    removed at the end; tell: what becomes of one that lies there. on_trial: told of each model that was evaluated. data,
    config, target, statistics, options: as for `quantize`.
    Raises CalibrationError when no quantized model is acceptable, DataError for what `evaluate` is to blame for.
    """
    return accuracy.autocalibrate(
        *(model, data, evaluator_of(evaluate, max_loss, lower_is_better=lower_is_better)),
        config=_settings(config, model, target),
        sensitivity=sensitivity,
        max_evaluations=max_evaluations,
        statistics=statistics,
        journal=journal,
        tell=tell,
        options=options,
        on_trial=on_trial,
    )


def search_precision(
    model: Model,
    data: DataSource | None,
    budget: str | Budget,
    *,
    widths: Sequence[str] = DEFAULT,
    limits: Mapping[str, Sequence[str]] | None = None,
    evaluate: Callable[[str], float] | Evaluator | None = None,
    lower_is_better: bool = False,
    config: Config = None,
    target: str | None = None,
    sensitivity: str | Path = "auto",
    rounding: str | None = ROUNDING,
    statistics: str | Path | Statistics | None = None,
    journal: str | Path | None = None,
    tell: Callable[[str], None] = lambda _text: None,
    options: RunOptions | None = None,
    on_measured: Callable[[str, Measured], None] = lambda _name, _measured: None,
) -> Found:
    """`quantize`, with the width of each layer chosen so that the least is lost within `budget`, or the cheapest that loses no
    more. Nothing is written; `.save(prefix)` does.

    budget: `bitops=0.25` (of the float16 model's), `bytes=0.25` (of the float32 weights), larger numbers as they are, or
    `max-loss=X`: of the metric, without `evaluate` of the outputs (energy of the error over the signal's). widths: what layers
    choose from, such as W4A8 or float16; the floats of the target, too, where none is named. limits: layer or pattern → the
    only widths it may have. evaluate: path of an ONNX model → its metric, or an object with `evaluate` and `metric_eval`.
    sensitivity: each layer quantized alone, its error at the outputs measured (`exact`), estimated (`estimate`) or either
    (`auto`: up to 40 layers exact); `local`: its error at its own output; or a file of losses. rounding: the weight method
    where there are fewer than 8 bits; None: as configured.
    journal: a file that keeps what an interrupted run has measured, removed at the end; tell: what becomes of one that lies
    there. on_measured: told of each model that was exported and run. data, config, target, statistics, options: as for
    `quantize`.
    Raises ConfigError for a budget that cannot be met, or without SciPy; CalibrationError where no point keeps the loss.
    """
    allowed = Budget.parse(budget) if isinstance(budget, str) else budget
    allowed.require_solver()
    return mixed.search_precision(
        *(model, data),
        Request(allowed, widths, limits or {}, evaluate, lower_is_better, sensitivity, rounding),
        config=_settings(config, model, target),
        statistics=statistics,
        journal=journal,
        tell=tell,
        options=options,
        on_measured=on_measured,
    )


def export(
    model: Model,
    record: QuantRecord | str | Path,
    prefix: str,
    *,
    config: Config = None,
    target: str | None = None,
    bias_correction: str | None = None,
    statistics: str | Path | Statistics | None = None,
    data: DataSource | None = None,
    options: RunOptions | None = None,
) -> QuantizeResult:
    """Build, run and compare the models of a record that was made elsewhere or edited by hand, and write them under `prefix`.

    config: its target, input shapes and fusion count, the record decides the rest. target: as for `quantize`. statistics: the
    calibration file for bias correction and static shapes; when left out, the one beside the record. data: samples to compare
    with the float model.
    Raises RecordError when the record does not fit the model.
    """
    settings = _settings(config, model, target)
    result = converting.convert(
        *(model, record),
        config=settings,
        bias_correction=bias_correction,
        statistics=statistics,
        data=data,
        options=options,
    )
    result.save(prefix)
    return result


def report(
    prefix: str | Path,
    output: str | Path | None = None,
    *,
    model: str | Path | None = None,
    record: str | Path | None = None,
    plots: str | Path | None = None,
    plot_format: str = "png",
    json: str | Path | None = None,
) -> Path:
    """Make the page of the run that wrote its files under `prefix`, with every analysis that lies beside it; returns its path.

    output: the HTML file, by default `<prefix>_report.html`. model: the float model, for its weights as they were before
    rounding. record: its file where it lies elsewhere, as after `export`. plots: a folder for every figure as a file, in
    `plot_format`, png or svg. json: a file for all that the page shows. Needs `pip install 'amct-lite[report]'`.
    Raises ConfigError where nothing was written under `prefix`, CalibrationError or RecordError for another model than the
    run's, ExportError when a file cannot be written.
    """
    html = output_path(prefix, "report.html") if output is None else Path(output)
    write_page(
        read_page(prefix, model=model, record=record),
        prefix,
        html=html,
        plots=Path(plots) if plots is not None else None,
        plot_format=plot_format,
        content=Path(json) if json is not None else None,
        inputs=[Path(path) for path in (model, record) if path is not None],
    )
    return html


def inspect(model: Model, config: Config = None, *, target: str | None = None) -> Inspection:
    """Load, prepare and plan `model` without running it on data. config, target: as for `quantize`.

    Raises UnsupportedModelError for a model that cannot be taken, ConfigError when `config` does not fit it.
    """
    return inspect_with(model, _settings(config, model, target))


def load_config(path: str | os.PathLike[str], model: Model | None = None, *, qdq: Qdq = "refuse") -> QuantConfig:
    """The settings in the file at `path`, of any format. model: what an AMCT file's names are checked against.

    Without a model, a layer that an AMCT file does not mention is taken to be of the default kind.
    Raises ConfigError with every problem and its line.
    """
    if model is None or not is_amct_config(path):
        return load_any_config(path)
    return load_configured(path, model, qdq=qdq)[0]


def _settings(config: Config, model: Model, target: str | None = None, qdq: Qdq = "refuse") -> QuantConfig:
    if config is None or isinstance(config, QuantConfig):
        settings = config or QuantConfig()
    elif isinstance(config, Mapping):
        settings = QuantConfig.from_mapping(config)
    else:
        settings = load_config(config, model, qdq=qdq)
    return settings.for_target(target)
