"""Sensitivity shared among processes: the figures of one process, also when a worker dies over its batch."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from small_nets import images, net, saved

from amct_lite.analysis.candidates import Scales
from amct_lite.analysis.sensitivity import Sensitivities, measure_sensitivity
from amct_lite.calibrated import Calibrated
from amct_lite.errors import CalibrationError, ConfigError, DataError
from amct_lite.pipeline import calibrate
from amct_lite.running import RunOptions
from amct_lite.runtime import RuntimeOptions
from amct_lite.workers import LocalProcesses, Workers

ONE = RuntimeOptions(threads=1)


@dataclass(frozen=True)
class Largest:
    """The largest difference. mark: the process that measures first dies once, and leaves this file."""

    mark: Path | None = None

    def __call__(self, exact: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> float:
        if self.mark is not None and not self.mark.exists():
            self.mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return float(np.abs(exact["y"] - other["y"]).max())


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    with LocalProcesses(2) as found:
        yield found


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Calibrated:
    return calibrate(saved(net(), tmp_path_factory.mktemp("sharing")), images())


def measured(calibrated: Calibrated, **arguments: object) -> Sensitivities:
    known = Scales(calibrated.decision.record, calibrated.plan, calibrated.usable)
    return measure_sensitivity(calibrated.source.prepared, known, images(20), **{"options": RunOptions(ONE), **arguments})


@pytest.mark.parametrize("method", ["exact", "estimate"])
def test_the_figures_are_those_of_one_process(calibrated: Calibrated, workers: Workers, method: str) -> None:
    candidates = ("W8A8", "W4A8")
    alone, shared = (
        measured(calibrated, method=method, candidates=candidates, options=RunOptions(ONE, workers=given)).to_json()
        for given in (None, workers)
    )
    assert shared == alone


def test_the_batch_of_a_killed_worker_is_measured_again(calibrated: Calibrated, workers: Workers, tmp_path: Path) -> None:
    steps: list[float] = []
    shared = measured(
        calibrated,
        metric=Largest(tmp_path / "killed"),
        journal=tmp_path / "journal",
        options=RunOptions(ONE, progress=lambda _stage, done, total: steps.append(done / total), workers=workers),
    )
    assert (tmp_path / "killed").exists()
    assert shared.to_json() == measured(calibrated, metric=Largest()).to_json()
    assert sum(steps) == pytest.approx(1)
    assert len((tmp_path / "journal").read_text().splitlines()) == 1 + 5 * 4  # batches of four samples, four layers


def test_an_interrupted_run_goes_on_with_workers(calibrated: Calibrated, workers: Workers, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    whole = measured(calibrated, journal=journal)
    journal.write_text("\n".join(journal.read_text().splitlines()[: 1 + 2 * 4]) + "\n")  # two batches
    told: list[str] = []
    assert measured(calibrated, journal=journal, options=RunOptions(ONE, workers=workers), tell=told.append) == whole
    assert told[0].startswith("8 measurements of 4 of 4 layers are taken from")


def test_a_metric_that_cannot_travel_is_refused(calibrated: Calibrated, workers: Workers) -> None:
    with pytest.raises(ConfigError, match=r"the metric <lambda> cannot be sent to workers.*top of a module.*without workers"):
        measured(calibrated, metric=lambda exact, other: 0.0, options=RunOptions(ONE, workers=workers))


def nothing(_exact: object, _other: object) -> None:
    return None


def test_what_is_wrong_with_a_metric_is_said_as_in_one_process(calibrated: Calibrated, workers: Workers) -> None:
    with pytest.raises(DataError, match="returned None for conv1 as W8A8; it must return a finite number"):
        measured(calibrated, metric=nothing, options=RunOptions(ONE, workers=workers))


def test_a_model_too_large_to_be_sent_elsewhere_goes_through_a_folder(
    calibrated: Calibrated, workers: Workers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = measured(calibrated).to_json()
    monkeypatch.setattr(workers, "same_files", False)
    monkeypatch.setattr("amct_lite.ir.travelling.needs_external_data", lambda _model: True)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert measured(calibrated, options=RunOptions(ONE, workers=workers)).to_json() == alone
    assert list(tmp_path.rglob("model.onnx")) == []


def test_a_folder_that_workers_do_not_see_is_named() -> None:
    from amct_lite.analysis.sharing import Measuring

    with pytest.raises(CalibrationError, match=r"does not see /nowhere/model\.onnx.*TMPDIR"):
        Measuring(Path("/nowhere/model.onnx"), (), None, ONE).opened()
