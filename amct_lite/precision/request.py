"""What a user asks of a search for mixed precision, checked before anything is read or run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from amct_lite.accuracy.evaluation import Evaluator, Referee, evaluator_of
from amct_lite.errors import ConfigError
from amct_lite.precision.budget import MAX_LOSS, Budget
from amct_lite.precision.losses import MEASURES
from amct_lite.precision.widths import DEFAULT, Widths, widths_named
from amct_lite.registry import did_you_mean
from amct_lite.weights import WEIGHT_QUANTIZERS
from amct_lite.workers import Workers, require_picklable

ROUNDING = "gptq"
"""How weights with fewer than 8 bits are rounded: with 4 bits, learned rounding is worth several dB."""


@dataclass(frozen=True)
class Request:
    """widths: the names of what layers choose from, floats among them. limits: layer or pattern → the only widths it may have.
    evaluate: a function model path → metric, or an AMCT evaluator, whose `metric_eval` then judges; None: by the error of the
    outputs. lower_is_better: the metric is an error. sensitivity: how the losses of single layers are measured, or a file that
    has them. rounding: the weight method of weights with fewer than 8 bits, None: as configured.

    Raises ConfigError for a name that is not known, and for a sensitivity that is neither a way to measure nor a file.
    """

    budget: Budget
    widths: Sequence[str] = DEFAULT
    limits: Mapping[str, Sequence[str]] = field(default_factory=dict)
    evaluate: Callable[[str], float] | Evaluator | None = None
    lower_is_better: bool = False
    sensitivity: str | Path = "auto"
    rounding: str | None = ROUNDING

    def __post_init__(self) -> None:
        widths_named(self.widths)
        if self.rounding is not None:
            WEIGHT_QUANTIZERS.get(self.rounding)
        if self.sensitivity not in MEASURES and not Path(self.sensitivity).is_file():
            hint = did_you_mean(str(self.sensitivity), MEASURES)
            raise ConfigError(
                f"the sensitivity {str(self.sensitivity)!r} is not known{hint}, nor is it a file; choose "
                f"{' or '.join(MEASURES)}."
            )

    @property
    def quantized(self) -> tuple[Widths, ...]:
        """The widths that are not floats."""
        return widths_named(self.widths)

    def referee(self, workers: Workers | None) -> Referee | None:
        """With a budget of losses its number decides, also for an evaluator that has a `metric_eval`; with one of costs the
        loss is only told. None without an evaluator.

        Raises ConfigError for one that cannot be sent to `workers`.
        """
        evaluate = self.evaluate
        if evaluate is None:
            return None
        largest = None if callable(getattr(evaluate, "metric_eval", None)) else 0.0
        if self.budget.kind == MAX_LOSS:
            evaluate, largest = getattr(evaluate, "evaluate", evaluate), self.budget.value
        evaluator = evaluator_of(evaluate, largest, lower_is_better=self.lower_is_better)
        if workers:
            require_picklable(evaluator, "the evaluator")
        return Referee(evaluator)
