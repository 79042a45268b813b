"""Sensitivity of a model's layers, from files: model, record, samples, and the calibration file beside the record."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from amct_lite import ir
from amct_lite.analysis.candidates import Scales
from amct_lite.analysis.figures import MetricFunction
from amct_lite.analysis.sensitivity import Sensitivities, measure_sensitivity
from amct_lite.calibration.data import DataSource
from amct_lite.calibration.observing import Kept
from amct_lite.calibration.store import Statistics
from amct_lite.config import QuantConfig
from amct_lite.errors import DataError
from amct_lite.plan import resolve
from amct_lite.recorded import Recorded, subject_of, take_record
from amct_lite.registry import matching
from amct_lite.rounding.apply import apply_roundings
from amct_lite.running import RunOptions, open_stream
from amct_lite.types import Feeds, QuantRecord


def sensitivity(
    model: str | Path | ir.Model,
    record: QuantRecord | str | Path,
    data: DataSource | None,
    *,
    candidates: Sequence[str] = ("W8A8",),
    layers: Sequence[str] = (),
    method: str = "auto",
    metric: str | MetricFunction = "nmse",
    config: QuantConfig | None = None,
    statistics: str | Path | Statistics | None = None,
    journal: str | Path | None = None,
    tell: Callable[[str], None] = lambda _text: None,
    options: RunOptions | None = None,
) -> Sensitivities:
    """What quantizing each layer of `record` alone does to its own output, and to the outputs of the network.

    data: samples, as for `quantize`; the first 64 batches (64 MiB) of them, or as many as the `batches` of `config` say.
    candidates: W8A8, W4A8, W8A16 and the like, W8 (weights alone), A8 (activations alone), FP16. layers: names or patterns;
    none for all. method: exact (each layer and candidate costs about half an inference pass over the data), estimate (about
    five passes in all), or auto: exact up to 40 layers times candidates. metric: nmse, mse, cosine (1 - cosine), kl, sqnr
    (ranks as nmse does), or a function of the outputs of the float model and of the other, by name, for one batch → damage,
    0 when they are the same. config: its range method decides scales that the record does not have. statistics: the
    calibration file; when left out, the one beside the record. journal: a file that keeps what an interrupted run has
    measured; removed at the end. tell: what is taken from it, before the rest is measured.
    Raises RecordError for a record of another model, ConfigError for a name that is not known, DataError for data that do not
    fit, CalibrationError for scales that cannot be decided without a calibration file.
    """
    chosen, settings = options or RunOptions(), config or QuantConfig(target="generic")
    taken = take_record(model, record, settings, statistics)
    stream = open_stream(taken.source, data, settings, chosen)
    if stream is None:
        raise DataError("there are no samples to measure with. Pass data (--data).")
    feeds, notes = _kept(stream, all_of_it=settings.batches is not None)
    names = [entry.key for entry in taken.record.layers if not entry.tensor_quantize]
    prepared, known = taken.source.prepared, taken.statistics
    scales = Scales(
        taken.record,
        resolve(settings, prepared),
        known.usable()[0] if known else None,
        correct_biases=known is not None and known.bias_correction != "none",
        rounded=apply_roundings(prepared, taken.record, known.roundings)[0] if known else None,
    )
    found = measure_sensitivity(
        *(prepared, scales, feeds),
        candidates=candidates,
        layers={name for pattern in layers for name in matching(pattern, names, where="the record")} if layers else None,
        method=method,
        metric=metric,
        journal=Path(journal) if journal else None,
        tell=tell,
        options=chosen,
    )
    if journal:
        Path(journal).unlink(missing_ok=True)
    subject = subject_of(taken.source, taken.record)
    return replace(found, notes=(*found.notes, *notes, *_about(taken)), subject=subject)


def _kept(batches: Iterable[Feeds], *, all_of_it: bool) -> tuple[list[Feeds], list[str]]:
    """The samples in memory, and what is to be said about them."""
    if all_of_it:
        return list(batches), []
    kept = Kept()
    for feeds in batches:
        if not kept.open:
            return kept.feeds, [
                f"measured on the first {len(kept.feeds)} batches of the data; --batches takes as many as it says"
            ]
        kept.add(feeds, ())
    return kept.feeds, []


def _about(taken: Recorded) -> tuple[str, ...]:
    """The bias correction that is measured with."""
    if taken.statistics is None:
        return (*taken.warnings, *taken.notes)
    method = taken.statistics.bias_correction
    if method == "none":
        return taken.warnings
    measured = "; the measured one of the calibration belongs to all layers together" if method == "full" else ""
    return (*taken.warnings, f"biases are corrected analytically, for each layer alone{measured}")
