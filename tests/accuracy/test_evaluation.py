"""What evaluators may return, and what is said of everything else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from amct_lite.accuracy.evaluation import MaxLoss, Referee, evaluator_of
from amct_lite.errors import ConfigError, DataError
from amct_lite.search.trials import Judgement

MODEL = Path("model.onnx")


class Fixed:
    """An evaluator that always says the same."""

    def __init__(self, metric: object = 1.0, verdict: object = (True, 0.0)) -> None:
        self.metric, self.verdict = metric, verdict

    def evaluate(self, model_file: str) -> Any:
        return self.metric

    def metric_eval(self, original_metric: Any, new_metric: Any) -> Any:
        return self.verdict


@pytest.mark.parametrize("value", [1, 1.5, np.float32(1.5), np.float64(2), np.array(3.0), np.int64(4)])
def test_any_number_is_a_metric(value: object) -> None:
    metric = Referee(Fixed(value)).measure(MODEL, "m")
    assert type(metric) is float
    assert metric == value


def test_several_numbers_are_a_metric_that_metric_eval_weighs() -> None:
    referee = Referee(Fixed([np.float32(0.5), 2]))
    assert referee.measure(MODEL, "m") == (0.5, 2.0)


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), "90 %", "90", True, {}, [], [1, None], [[1.0]]])
def test_anything_else_names_file_model_and_remedy(value: object) -> None:
    with pytest.raises(
        DataError, match=r"test_evaluation\.py: evaluate returned .* for the float model; it must return a number"
    ):
        Referee(Fixed(value)).measure(MODEL, "the float model")


@pytest.mark.parametrize("verdict", [(True, 0.5), [False, 2], (np.bool_(True), np.float32(0.25))])
def test_a_verdict_is_a_bool_and_a_number(verdict: Any) -> None:
    assert Referee(Fixed(verdict=verdict)).judge(1.0, 1.0) == Judgement(bool(verdict[0]), float(verdict[1]))


@pytest.mark.parametrize(
    "verdict", [None, True, (True,), (1.0, True), (True, None), (True, float("nan")), ("yes", 1.0), (1, 0.5)]
)
def test_another_verdict_is_shown_with_what_it_must_be(verdict: object) -> None:
    with pytest.raises(DataError, match=r"metric_eval\(1\.0, 2\.0\) returned .*must return a pair"):
        Referee(Fixed(verdict=verdict)).judge(1.0, 2.0)


def test_what_an_evaluator_raises_is_told_with_its_line() -> None:
    def evaluate(model_path: str) -> float:
        return float({}["accuracy"])  # type: ignore[index]

    line = evaluate.__code__.co_firstlineno + 1
    with pytest.raises(DataError, match=rf"test_evaluation\.py:{line}: KeyError: 'accuracy' \(evaluate, on the float model\)"):
        Referee(MaxLoss(evaluate, 1.0)).measure(MODEL, "the float model")


@pytest.mark.parametrize(
    ("lower_is_better", "new", "expected"),
    [
        (False, 57.4, (True, 1.0)),  # 58.4 - 57.4 is 1.0000000000000000 and a little more
        (False, 57.3, (False, 1.1)),
        (False, 60.0, (True, -1.6)),
        (True, 59.4, (True, 1.0)),
        (True, 60.0, (False, 1.6)),
    ],
)
def test_max_loss_is_absolute_and_inclusive(lower_is_better: bool, new: float, expected: tuple[bool, float]) -> None:
    acceptable, loss = MaxLoss(lambda _: 0.0, 1.0, lower_is_better).metric_eval(58.4, new)
    assert (acceptable, pytest.approx(loss)) == expected


def test_wrong_ways_to_ask_are_told() -> None:
    with pytest.raises(ConfigError, match="needs max_loss"):
        evaluator_of(lambda _: 0.0, None, lower_is_better=False)
    with pytest.raises(ConfigError, match="decides with its own metric_eval"):
        evaluator_of(Fixed(), 1.0, lower_is_better=False)
    with pytest.raises(ConfigError, match="is a int; it must be a function"):
        evaluator_of(3, 1.0, lower_is_better=False)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="max_loss = -1 must be 0 or more"):
        evaluator_of(lambda _: 0.0, -1, lower_is_better=False)
