"""How far a disturbed tensor is from the exact one, from sums that add up over batches; and what layers are ranked by.

A damage is 0 for identical outputs and grows, in proportion to the energy of a small disturbance, so that it can be
estimated from the energy alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass

from amct_lite.errors import ConfigError
from amct_lite.numerics.metrics import cosine_from_error, softmax_divergence, sqnr_db_from_sums, sums
from amct_lite.registry import did_you_mean
from amct_lite.types import AnyArray

MetricFunction = Callable[[Mapping[str, AnyArray], Mapping[str, AnyArray]], float]
"""(outputs of the float model, outputs with one layer quantized), each by name and of one batch → damage, 0 when identical."""


@dataclass(frozen=True)
class Figures:
    """Of one tensor. mse: in its units squared; nmse: the error's energy over the signal's; sqnr_db: the same in dB, inf when
    identical. kl: mean Kullback-Leibler divergence of the softmax over its classes in nats (of the values themselves where
    they are probabilities); None where it has no classes. Errors that leave float's range are inf, their cosine is NaN."""

    mse: float
    nmse: float
    cosine: float
    sqnr_db: float
    kl: float | None = None


@dataclass(frozen=True)
class Sums:
    """Over all values of a tensor, in all batches added so far: Σ exact², Σ disturbed², Σ (disturbed - exact)², the number of
    values; and Σ KL(exact ‖ disturbed) over `rows` distributions (0 rows where there are none)."""

    square: float = 0.0
    other_square: float = 0.0
    error: float = 0.0
    count: float = 0.0
    divergence: float = 0.0
    rows: float = 0.0

    def __add__(self, other: Sums) -> Sums:
        return Sums(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))

    def figures(self) -> Figures:
        square, other_square, error = self.square, self.other_square, self.error
        if not all(map(math.isfinite, (square, other_square, error, self.divergence))):
            return Figures(math.inf, math.inf, math.nan, -math.inf)
        return Figures(
            mse=error / self.count if self.count else 0.0,
            nmse=error / square if square else math.inf if error else 0.0,
            cosine=cosine_from_error(square, other_square, error),
            sqnr_db=sqnr_db_from_sums(square, error),
            kl=self.divergence / self.rows if self.rows else None,
        )


def compare(exact: AnyArray, disturbed: AnyArray) -> Sums:
    """The sums of one batch of one tensor."""
    square, _, other_square, error = sums(exact, disturbed)
    return Sums(square, other_square, error, exact.size, *softmax_divergence(exact, disturbed))


_DAMAGES: Mapping[str, Callable[[Figures], float | None]] = {
    "nmse": lambda figures: figures.nmse,
    "mse": lambda figures: figures.mse,
    "cosine": lambda figures: 1 - figures.cosine,
    "sqnr": lambda figures: figures.nmse,
    "kl": lambda figures: figures.kl,
}
METRICS = tuple(_DAMAGES)


def require_metric(metric: str | MetricFunction) -> None:
    """Raises ConfigError for a name that is none."""
    if isinstance(metric, str) and metric not in _DAMAGES:
        hint = did_you_mean(metric, METRICS)
        raise ConfigError(
            f"unknown metric {metric!r}{hint}; choose one of {', '.join(METRICS)}, or pass a function, on the command line the "
            "Python file with metric(exact, other)."
        )


def damage_of(metric: str, outputs: Mapping[str, Figures]) -> float:
    """The mean over the outputs that have the figure; inf where a figure leaves float's range.

    Raises ConfigError where no output has it.
    """
    found = [damage for figures in outputs.values() if (damage := _DAMAGES[metric](figures)) is not None]
    if not found:
        lacking = "has classes, along which a softmax could be taken" if metric == "kl" else "is a float tensor"
        raise ConfigError(f"metric {metric!r}: no output of the model {lacking}. Choose another metric, or pass a function.")
    mean = math.fsum(found) / len(found)
    return mean if math.isfinite(mean) else math.inf


def finite(content: object) -> object:
    """`content` for JSON, null in place of numbers that are not finite: it has no words for them."""
    if isinstance(content, float):
        return content if math.isfinite(content) else None
    if isinstance(content, Mapping):
        return {str(key): finite(value) for key, value in content.items()}
    return [finite(value) for value in content] if isinstance(content, list | tuple) else content
