"""AMCT's calibration as one call: configuration, calibration model, runs, saved models."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from amct_lite import scratch
from amct_lite.calibration.feeds import check_feeds, input_specs
from amct_lite.compat.collector import runs_for
from amct_lite.compat.preparing import Job, write_balancing_model, write_calibration_model
from amct_lite.compat.saving import save_calibrated
from amct_lite.compat.session import CalibrationSession
from amct_lite.errors import CalibrationError
from amct_lite.files import output_path, require_writable
from amct_lite.types import Feeds

Runs = Callable[[Path], None]
"""Runs the calibration model at a path `batch_num` times."""


def calibrate(job: Job, save_path: str, runs: Runs, source: str) -> None:
    """Quantize the model of `job` with what `runs` feeds it, and write the three files of `save_model`, and the record beside
    them. Where the configuration balances layers, the data are read twice. source: who runs it, for messages.

    Raises CalibrationError when `runs` were fewer than `batch_num`, ExportError when nothing can be written there.
    """
    require_writable(save_path)
    kept = output_path(save_path, "record.txt")
    with scratch.folder() as folder:
        modified, record = folder / "modified.onnx", folder / "record.txt"
        if job.balances:
            write_balancing_model(job, record, modified)
            runs(modified)
            _require_runs(record, 1, source)
        write_calibration_model(job, record, modified)
        runs(modified)
        _require_runs(record, job.batch_num, source)
        save_calibrated(modified, record, save_path, keep_as=kept)


def _require_runs(record: Path, wanted: int, source: str) -> None:
    if (found := runs_for(record)) < wanted:
        raise CalibrationError(
            f"{source} has run the calibration model {found} of {wanted} times. Let it run {wanted - found} more, or ask for a "
            f"smaller batch_num."
        )


def feeding(job: Job, batches: Callable[[int], Iterable[Feeds]]) -> Runs:
    """Runs that take `batches(batch_num)`, each checked against the model's inputs and converted to their types."""
    specs = input_specs(job.source.prepared)

    def run(modified: Path) -> None:
        session = CalibrationSession(modified)
        for number, feeds in enumerate(batches(session.batch_num)):
            session.run(None, check_feeds(feeds, specs, f"batch {number}"))

    return run
