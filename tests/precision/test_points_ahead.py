"""Points that workers make ahead: the same search, the same files, whoever dies."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from counted import Failing, Fidelity, Noting, delicate, files
from small_nets import ONE_THREAD, images

import amct_lite
from amct_lite.config import QuantConfig
from amct_lite.errors import CalibrationError, ConfigError, DataError
from amct_lite.precision.ahead import key_of
from amct_lite.precision.choosing import asked_next, cheapest_acceptable, descend, neighbours
from amct_lite.precision.measured import Measured
from amct_lite.precision.outcome import Found
from amct_lite.search.knapsack import Choice, Point, Variable, front
from amct_lite.workers import LocalProcesses, Workers

GENERIC = QuantConfig(target="generic", per_channel="none", bias_correction="full")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return delicate(tmp_path_factory.mktemp("delicate"), conv2=20.0, conv4=20.0)


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    with LocalProcesses(2) as found:
        yield found


def search(model: Path, budget: str, workers: Workers | None, **settings: object) -> Found:
    given = {"config": GENERIC, "widths": ("float32", "W8A8", "W4A8"), "sensitivity": "local", **settings}
    options = replace(ONE_THREAD, workers=workers)
    return amct_lite.search_precision(model, images(), budget, options=options, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize("budget", ["bitops=2.1", "max-loss=35"])
def test_files_and_what_is_told_are_those_of_one_process_also_when_a_worker_dies(
    model: Path, workers: Workers, tmp_path: Path, budget: str
) -> None:
    told: dict[str, list[object]] = {"alone": [], "shared": []}

    def run(name: str, given: Workers | None, **settings: bool) -> Found:
        evaluate = Noting(model, tmp_path / name, **settings)
        return search(model, budget, given, evaluate=evaluate, on_measured=lambda *seen: told[name].append(seen))

    alone, shared = run("alone", None), run("shared", workers, deadly=True)
    assert files(shared, tmp_path / "two" / "m") == files(alone, tmp_path / "one" / "m")
    assert told["shared"] == told["alone"]
    seen = {path.name for path in (tmp_path / "shared").iterdir()}
    assert "killed" in seen
    assert str(os.getpid()) not in seen  # every point was evaluated by workers
    assert {path.name for path in (tmp_path / "alone").iterdir()} == {str(os.getpid())}


def test_without_an_evaluator_points_are_made_by_workers_too(
    model: Path, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = search(model, "max-loss=0.001", None)
    monkeypatch.setattr("amct_lite.precision.measured.make", None)  # nothing is made here
    assert search(model, "max-loss=0.001", workers).to_json() == alone.to_json()


def test_the_journal_of_an_interrupted_search_is_that_of_one_process(model: Path, workers: Workers, tmp_path: Path) -> None:
    class StopError(Exception):
        pass

    def stop(_name: str, _found: Measured) -> None:
        stopped.append(1)
        if len(stopped) == 3:
            raise StopError

    for name, given in (("alone", None), ("shared", workers)):
        stopped: list[int] = []
        with pytest.raises(StopError):
            search(model, "bitops=2.1", given, evaluate=Fidelity(model), journal=tmp_path / name, on_measured=stop)
    assert (tmp_path / "shared").read_bytes() == (tmp_path / "alone").read_bytes()
    again = search(model, "bitops=2.1", workers, evaluate=Fidelity(model), journal=tmp_path / "alone")
    assert again.evaluations == search(model, "bitops=2.1", None, evaluate=Fidelity(model)).evaluations - 4


def test_what_is_wrong_with_the_evaluator_is_said_as_in_one_process(model: Path, workers: Workers) -> None:
    messages = []
    for given in (None, workers):
        with pytest.raises(DataError, match="fake_quant is wrong") as caught:
            search(model, "bitops=2.1", given, evaluate=Failing(model, "fake_quant"))
        messages.append(str(caught.value))
    assert messages[0].splitlines()[0] == messages[1].splitlines()[0]


def test_an_evaluator_that_cannot_travel_is_refused_at_once(model: Path, workers: Workers) -> None:
    with pytest.raises(ConfigError, match=r"the evaluator .*cannot be sent to workers.*top of a module"):
        search(model, "bitops=2.1", workers, evaluate=lambda _path: 1.0)


def test_a_model_too_large_to_be_sent_elsewhere_goes_through_a_folder(
    model: Path, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = search(model, "bitops=2.1", None).to_json()
    monkeypatch.setattr(workers, "same_files", False)
    monkeypatch.setattr("amct_lite.ir.travelling.needs_external_data", lambda _model: True)
    assert search(model, "bitops=2.1", workers).to_json() == alone


VARIABLES = tuple(
    Variable((name,), (Choice("float32", 10 + n, 0.0), Choice("8", 5, 1.0 + n), Choice("4", 2, 4.0 + n)))
    for n, name in enumerate("abc")
)
POINTS = front(VARIABLES)


@pytest.mark.parametrize("accepted", [frozenset(c) for size in range(4) for c in itertools.combinations(range(6), size)])
def test_whatever_the_answers_the_next_point_and_one_after_it_are_foreseen(accepted: frozenset[int]) -> None:
    known: dict[object, bool] = {}
    foreseen: list[list[dict[str, str]]] = []
    asked: list[dict[str, str]] = []

    def measure(point: Point) -> Measured:
        if key_of(point.picks) not in known:
            foreseen.append(asked_next(VARIABLES, POINTS, known, 3))  # type: ignore[arg-type]
            asked.append(dict(point.picks))
            known[key_of(point.picks)] = sum(map(ord, "".join(point.picks.values()))) % 6 in accepted
        return Measured(point.picks, 0, 0, 0, 0.0, 0.0)

    def acceptable(found: Measured) -> bool:
        return known[key_of(found.picks)]

    try:
        start = cheapest_acceptable(POINTS, measure, acceptable)
        chosen = descend(start, VARIABLES, POINTS, measure, acceptable)
    except CalibrationError:
        pass
    else:
        for beside in filter(None, neighbours(POINTS, chosen)):
            measure(beside)
    for number, picks in enumerate(asked):
        assert foreseen[number][0] == picks
        assert number == 0 or picks in foreseen[number - 1]
