"""Which layers suffer most from quantization, each judged by its own output: all of them in one pass over the samples.

A score is higher the less a layer suffers; a ranking begins with the layer that suffers most.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from amct_lite import ir
from amct_lite.analysis.local_error import LocalError, compare_outputs, measure
from amct_lite.errors import ConfigError
from amct_lite.registry import did_you_mean
from amct_lite.runtime import RuntimeOptions
from amct_lite.types import AnyArray, Feeds, QuantRecord

Ranking = tuple[tuple[str, float], ...]
"""(layer, score), ascending."""

MOST_DB = 200.0
"""Scores are finite: an SQNR is kept within plus and minus this."""


class Sensitivity(Protocol):
    """The similarity of a layer's float output and its quantized output; higher is more alike."""

    def compare(self, original: AnyArray, quantized: AnyArray, /) -> float: ...


def _cosine(error: LocalError) -> float:
    """0.5 + 0.5 cos, AMCT's score: 1 for the same direction."""
    return 0.5 + 0.5 * error.cosine


def _mse(error: LocalError) -> float:
    """1 / (1 + n) with the squared error n relative to the signal's square."""
    n = 10 ** (-_sqnr(error) / 10)
    return 1 / (1 + n)


def _sqnr(error: LocalError) -> float:
    return max(-MOST_DB, min(MOST_DB, error.sqnr_db))


SENSITIVITIES: Mapping[str, Callable[[LocalError], float]] = {
    "CosineSimilarity": _cosine,
    "MseSimilarity": _mse,
    "SQNR": _sqnr,
}
_UNKNOWN = LocalError(float("-inf"), -1.0)
"""Of a layer whose sums leave float32's range: it goes first."""


def require_sensitivity(sensitivity: str | Sensitivity) -> None:
    """Raises ConfigError for a name that is not there, and for an object without `compare`."""
    if isinstance(sensitivity, str):
        if sensitivity not in SENSITIVITIES:
            hint, choices = did_you_mean(sensitivity, SENSITIVITIES), ", ".join(SENSITIVITIES)
            raise ConfigError(f"unknown sensitivity {sensitivity!r}{hint}; choose one of {choices}, or pass an object.")
    elif not callable(getattr(sensitivity, "compare", None)):
        raise ConfigError(
            f"the sensitivity {type(sensitivity).__name__} has no method compare(original, quantized) -> float. "
            f"Define it, or name one of {', '.join(SENSITIVITIES)}."
        )


def rank_layers(
    model: ir.Model,
    corrected: ir.Model,
    record: QuantRecord,
    data: Iterable[Feeds],
    sensitivity: str | Sensitivity = "CosineSimilarity",
    options: RuntimeOptions | None = None,
) -> Ranking:
    """The layers of `record`, no single tensors, the most sensitive first; those of equal score in the order of the record.

    model: prepared; corrected: the same with the biases that are exported. An object as `sensitivity` is called with the
    outputs of each layer for each batch of `data`, and scores by its mean.
    Raises ConfigError for a sensitivity that is not there, CalibrationError for a score that is not finite.
    """
    require_sensitivity(sensitivity)
    record = QuantRecord(tuple(layer for layer in record.layers if not layer.tensor_quantize))
    if isinstance(sensitivity, str):
        score = SENSITIVITIES[sensitivity]
        errors = measure(model, corrected, record, data, options)
        scores = {layer.key: score(errors.get(layer.key, _UNKNOWN)) for layer in record.layers}
    else:
        found = compare_outputs(model, corrected, record, data, sensitivity.compare, options)
        scores = {layer.key: found[layer.key] for layer in record.layers}
    return tuple(sorted(scores.items(), key=lambda item: item[1]))
