"""The user's metric: calling it, and telling what is wrong with what it returns."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from amct_lite.calibration.user_code import running_user_code
from amct_lite.errors import ConfigError, DataError
from amct_lite.search.trials import Judgement

Metric = float | tuple[float, ...]
"""What an evaluator measures: a number, or several that its `metric_eval` weighs."""

_REMEDY = "Correct the evaluator."


class Evaluator(Protocol):
    """AMCT's evaluator, as far as a search needs it."""

    def evaluate(self, model_file: str, /) -> Any:
        """The metric of the model at this path."""

    def metric_eval(self, original_metric: Any, new_metric: Any, /) -> tuple[bool, float]:
        """(whether the loss is acceptable, the loss)."""


@dataclass(frozen=True)
class MaxLoss:
    """An evaluator made of a function and the loss that is accepted, absolute, in the units of the metric.

    lower_is_better: the metric is an error; then what it gains is the loss.
    """

    evaluate: Callable[[str], float]
    max_loss: float
    lower_is_better: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.max_loss) and self.max_loss >= 0):
            raise ConfigError(f"max_loss = {self.max_loss} must be 0 or more, in the units of the metric.")

    def metric_eval(self, original_metric: float, new_metric: float) -> tuple[bool, float]:
        """The loss is accepted up to `max_loss`, but for the last digits of a float: 58.4 - 57.4 is no more than 1."""
        loss = new_metric - original_metric if self.lower_is_better else original_metric - new_metric
        return loss <= self.max_loss + 1e-9 * max(abs(original_metric), abs(new_metric)), loss


def evaluator_of(evaluate: Callable[[str], float] | Evaluator, max_loss: float | None, *, lower_is_better: bool) -> Evaluator:
    """An evaluator object as it is, or one made of a function. Raises ConfigError for what is neither, and for a `max_loss`
    that is missing or too much."""
    if callable(getattr(evaluate, "evaluate", None)) and callable(getattr(evaluate, "metric_eval", None)):
        if max_loss is not None or lower_is_better:
            raise ConfigError(
                f"the evaluator {type(evaluate).__name__} decides with its own metric_eval. "
                "Leave out max_loss and lower_is_better, or pass its evaluate function alone."
            )
        return evaluate  # type: ignore[return-value]  # has both methods
    if not callable(evaluate):
        raise ConfigError(
            f"the evaluator is a {type(evaluate).__name__}; it must be a function evaluate(model_path) -> float, or an "
            "object with evaluate and metric_eval."
        )
    if max_loss is None:
        raise ConfigError("a function evaluate(model_path) needs max_loss: how much the metric may lose, in its own units.")
    return MaxLoss(evaluate, max_loss, lower_is_better)


@dataclass(frozen=True)
class Referee:
    """Asks an evaluator. All that goes wrong in it, and all that it should not return, is a DataError with its file."""

    evaluator: Evaluator

    def measure(self, model: Path, what: str) -> Metric:
        """The metric of the model at `model`; what: how to call it in a message."""
        with self._running(f"evaluate, on {what}"):
            found = self.evaluator.evaluate(str(model))
        metric = _metric(found)
        if metric is None:
            raise DataError(
                f"{self.source}: evaluate returned {found!r} for {what}; it must return a number, the metric of the model "
                f"(or a tuple of numbers that metric_eval takes). {_REMEDY}"
            )
        return metric

    def judge(self, original: Metric, new: Metric) -> Judgement:
        """What the evaluator says to `new` where the float model has `original`."""
        with self._running(f"metric_eval({original}, {new})"):
            found = self.evaluator.metric_eval(original, new)
        acceptable, loss = found if isinstance(found, tuple | list) and len(found) == 2 else (None, None)
        number = _metric(loss)
        if not (_is_bool(acceptable) and isinstance(number, float)):
            raise DataError(
                f"{self.source}: metric_eval({original}, {new}) returned {found!r}; it must return a pair: "
                f"whether the loss is acceptable (bool), and the loss (a number). {_REMEDY}"
            )
        return Judgement(bool(acceptable), number)

    @property
    def source(self) -> Path:
        """The file with the evaluator's code; its name where there is none, as in a notebook."""
        return source_of(self.evaluator.evaluate)

    def _running(self, when: str) -> Any:
        return running_user_code(self.source, _REMEDY, when=when)


def source_of(function: Callable[..., object]) -> Path:
    """The file with the code of `function`; its name where there is none, as in a notebook."""
    function = inspect.unwrap(function)
    code: Any = function if inspect.isroutine(function) else type(function).__call__
    try:
        found = inspect.getsourcefile(inspect.unwrap(code))
    except (TypeError, OSError):
        found = None
    return Path(found or code.__qualname__)


def _metric(value: object) -> Metric | None:
    """As Python numbers; None for anything that is no finite number, nor several of them."""
    if isinstance(value, tuple | list) and value:
        numbers = tuple(_metric(item) for item in value)
        return tuple(n for n in numbers if isinstance(n, float)) if all(isinstance(n, float) for n in numbers) else None
    try:
        number = float(value)  # type: ignore[arg-type]  # or TypeError; numpy's and torch's scalars are numbers too
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and not isinstance(value, str | bool) else None


def _is_bool(value: object) -> bool:
    return isinstance(value, bool) or type(value).__name__ in {"bool_", "bool"}  # numpy's bool is none of Python's
