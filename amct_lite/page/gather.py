"""The page of a run: from its result while it is in memory, or later from the files that it wrote."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from amct_lite import ir
from amct_lite.calibration import store
from amct_lite.calibration.store import Sketches, Statistics
from amct_lite.config import QuantConfig
from amct_lite.errors import ConfigError
from amct_lite.files import output_path
from amct_lite.page.analyses import Place, analyses_beside, analyses_of
from amct_lite.page.float_form import float_form
from amct_lite.page.freshness import Present
from amct_lite.page.graph import steps_of
from amct_lite.page.layers import layer_views
from amct_lite.page.values import Analysis, Page
from amct_lite.record import read_record, record_digest
from amct_lite.recorded import take_record
from amct_lite.registry import did_you_mean
from amct_lite.reports.reading import read_report
from amct_lite.reports.report import Report
from amct_lite.result import QuantizeResult
from amct_lite.types import QuantRecord

_REPORT = "report.json"


def page_of(result: QuantizeResult, prefix: str | Path, texts: Mapping[str, str]) -> Page:
    """The page of a run that has just ended. prefix: where its files go. texts: what is written with them, by what follows the
    prefix; analyses that lie there already are of an earlier run, and not shown."""
    report, record = result.report, result.record
    place = _place(prefix, report, record.source or output_path(prefix, "record.txt"), None)
    analyses = analyses_of(texts, place, Present.of(report, record, prefix))
    return _page(report, record, result.statistics, result.source.prepared, "float", analyses)


def read_page(prefix: str | Path, *, model: str | Path | None = None, record: str | Path | None = None) -> Page:
    """The page of the run that wrote `<prefix>_report.json` and the files beside it.

    model: the float model, for its weights as they were before rounding. record: where it lies elsewhere, as it does
    for the models of `convert`.
    Raises ConfigError when nothing was written under `prefix`, the errors of each file where it is damaged,
    CalibrationError or RecordError when `model` is not the one of the run.
    """
    report, path = require_run(prefix, record)
    given = read_record(path)
    statistics = _statistics(prefix, path)
    analyses = analyses_beside(_place(prefix, report, path, model), Present.of(report, given, prefix))
    fake_quant = output_path(prefix, "fake_quant_model.onnx")
    if model is not None:
        prepared = take_record(model, given, QuantConfig(target="generic"), statistics).source.prepared
        return _page(report, given, statistics, prepared, "float", analyses)
    known = float_form(ir.load(fake_quant).model) if fake_quant.is_file() else None
    return _page(report, given, statistics, known, "fake_quant" if known else "", analyses)


def require_run(prefix: str | Path, record: str | Path | None = None) -> tuple[Report, Path]:
    """The report that a run wrote under `prefix`, and where its record lies, which may be elsewhere.

    Raises ConfigError where one of them is missing.
    """
    report = read_report(_report_path(prefix))
    path = Path(record) if record is not None else output_path(prefix, "record.txt")
    if record is None and not path.is_file():
        raise ConfigError(f"there is no {path}: `convert` reads a record from elsewhere. Name that one with --record.")
    return report, path


def _place(prefix: str | Path, report: Report, record: str | Path, model: str | Path | None) -> Place:
    return Place(prefix, str(model or report.model_path or report.model), report.target, record, report.deploy_shapes)


def _page(
    report: Report,
    record: QuantRecord,
    statistics: Statistics | None,
    model: ir.Model | None,
    origin: str,
    analyses: tuple[Analysis, ...],
) -> Page:
    sketches: Sketches = statistics.usable()[0] if statistics else {}
    layers = layer_views(report, record, sketches, model)
    quantized = {row.name for row in report.layers}
    graph = steps_of(model, quantized, {skip.node for skip in report.skips}) if model else ()
    return Page(report, layers, graph, analyses, origin, _other_record(report, record))


def _other_record(report: Report, record: QuantRecord) -> str:
    """That a record was edited or replaced since its run; empty where it was not, or the report does not tell."""
    if report.subject is None or report.subject.record in {None, record_digest(record)}:
        return ""
    return (
        "The record has changed since the run that wrote the report: ranges are those of the record now, errors, sizes and "
        "checks those of the run before. Make the models again with `amct-lite convert --record`, or calibrate again."
    )


def _report_path(prefix: str | Path) -> Path:
    """Also for who names one of the files, not what they have in common."""
    path = output_path(prefix, _REPORT)
    if path.is_file():
        return path
    folder = Path(prefix) if Path(prefix).is_dir() else path.parent
    found = sorted(str(file).removesuffix(_REPORT).removesuffix("_") for file in folder.glob(f"*{_REPORT}"))
    named = [other for other in found if str(prefix).startswith(f"{other}_")]  # one of the files of that run
    hint = f" (did you mean {named[0]!r}?)" if named else did_you_mean(str(prefix), found)
    written = f" Reports lie there under {', '.join(found[:5])}." if found else ""
    raise ConfigError(
        f"there is no {path}, so no run wrote anything under {str(prefix)!r}{hint}.{written} "
        "Give the prefix that -o had: `amct-lite calibrate … -o out/model` goes with `amct-lite report out/model`."
    )


def _statistics(prefix: str | Path, record: Path) -> Statistics | None:
    """The calibration file of the run, else the one beside the record; None when there is neither."""
    own = output_path(prefix, "calibration.npz")
    path = own if own.is_file() else store.beside(record)
    return store.load(path) if path else None
