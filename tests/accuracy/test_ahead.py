"""Candidates evaluated by several processes: the same search, the same files, whoever dies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from counted import PER_TENSOR, Failing, Fidelity, Noting, delicate, files
from small_nets import ONE_THREAD, images

import amct_lite
from amct_lite.accuracy.ahead import Ahead, Candidate
from amct_lite.accuracy.auto import AutoCalibration
from amct_lite.accuracy.evaluation import MaxLoss
from amct_lite.errors import CalibrationError, ConfigError, DataError
from amct_lite.workers import LocalProcesses, Workers


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return delicate(tmp_path_factory.mktemp("delicate"), conv2=20.0, conv4=20.0)


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    with LocalProcesses(3) as found:
        yield found


def run(model: Path, evaluate: object, workers: Workers | None, **settings: object) -> AutoCalibration:
    given = {"max_loss": 25.0, "config": PER_TENSOR, "options": replace(ONE_THREAD, workers=workers), **settings}
    return amct_lite.autocalibrate(model, images(), evaluate, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize("same_files", [True, False])
def test_the_files_are_those_of_one_process_also_when_a_worker_dies(
    model: Path, workers: Workers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, same_files: bool
) -> None:
    monkeypatch.setattr(workers, "same_files", same_files)
    told: dict[str, list[object]] = {"alone": [], "shared": []}
    alone = run(model, Fidelity(model), None, on_trial=told["alone"].append)
    shared = run(model, Noting(model, tmp_path / "seen", deadly=True), workers, on_trial=told["shared"].append)
    assert files(shared, tmp_path / "shared" / "m") == files(alone, tmp_path / "alone" / "m")
    assert told["shared"] == told["alone"]
    seen = {path.name for path in (tmp_path / "seen").iterdir()}
    assert "killed" in seen
    assert len(seen - {"killed"}) > 1  # several processes


def test_the_limit_of_evaluations_is_that_of_one_process(model: Path, workers: Workers) -> None:
    for limit in (5, 6):
        one, several = (run(model, Fidelity(model), given, max_evaluations=limit) for given in (None, workers))
        assert several.to_json() == one.to_json()


def test_a_journal_of_one_process_is_taken_up_by_several(model: Path, workers: Workers, tmp_path: Path) -> None:
    class StopError(Exception):
        pass

    def stop(_trial: object) -> None:
        stopped.append(1)
        if len(stopped) == 3:
            raise StopError

    stopped: list[int] = []
    with pytest.raises(StopError):
        run(model, Fidelity(model), None, journal=tmp_path / "journal", on_trial=stop)
    again = run(model, Fidelity(model), workers, journal=tmp_path / "journal")
    assert [trial.resumed for trial in again.history] == [True] * 3 + [False] * (len(again.history) - 3)
    assert again.in_float == run(model, Fidelity(model), None).in_float


def test_an_error_of_a_model_that_is_not_asked_for_does_not_matter(model: Path, workers: Workers) -> None:
    """With 60 dB allowed everything quantized will do; other candidates were evaluated beside it, those with two layers in
    float too, which the search asks for only after a failure."""
    assert run(model, Failing(model, "2_in_float"), workers, max_loss=60.0).in_float == ()
    with pytest.raises(DataError, match="2_in_float is wrong"):
        run(model, Failing(model, "2_in_float"), workers)


def test_an_evaluator_that_cannot_travel_is_refused_at_once(model: Path, workers: Workers) -> None:
    with pytest.raises(ConfigError, match=r"the evaluator MaxLoss cannot be sent to workers.*top of a module"):
        run(model, lambda _path: 1.0, workers)


def never(_path: str) -> float:
    raise AssertionError


def test_a_model_that_workers_do_not_see_is_named(workers: Workers, tmp_path: Path) -> None:
    ahead = Ahead(MaxLoss(never, 1.0), workers)
    with pytest.raises(CalibrationError, match=r"does not see .*nowhere\.onnx: .*Give a path that all workers see.*TMPDIR"):
        ahead.metric(Candidate(None, "the float model", lambda _folder: tmp_path / "nowhere.onnx"), ())
