"""A model whose roundings and biases are settled, and the fake-quant model that it becomes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from amct_lite import ir
from amct_lite.calibration.store import Statistics
from amct_lite.correction.analytic import correct_bias
from amct_lite.correction.full import apply_shifts
from amct_lite.exporters import qdq
from amct_lite.exporters.halves import in_half
from amct_lite.rounding.apply import apply_roundings
from amct_lite.types import AnyArray, QuantRecord, Skip


@dataclass(frozen=True)
class Settled:
    """corrected: the prepared model with the weights and biases that are exported. computed: the same with its layers of
    float16. fake_quant: of `computed`. alone: `corrected`, its biases taking back nothing but what each layer does itself, to
    judge the layers one by one. skips: weights and biases that are not as learned or corrected. halves: the layers that
    compute in float16. results: the outputs of `fake_quant` for each of the last samples, where it was run on them."""

    corrected: ir.Model
    computed: ir.Model
    fake_quant: ir.Model
    alone: ir.Model
    skips: tuple[Skip, ...]
    halves: frozenset[str]
    results: tuple[tuple[AnyArray, ...], ...] = ()


def settle(
    prepared: ir.Model,
    record: QuantRecord,
    statistics: Statistics | None,
    method: str,
    halves: Collection[str] = (),
    analytic: Settled | None = None,
) -> Settled:
    """method: the bias correction; `full` takes the shifts of the statistics, and is the analytic one where these have none.
    halves: the layers that compute in float16, as far as they are not quantized. analytic: what this gives for the method of
    that name and otherwise the same arguments, where somebody has it.

    Raises ExportError where the record does not fit the model, or a layer does not fit into float16.
    """
    shifted = method == "full" and statistics is not None and statistics.bias_shifts is not None
    corrected, skips = _corrected(prepared, record, statistics, method)
    alone = corrected
    if shifted:
        alone = analytic.corrected if analytic else _corrected(prepared, record, statistics, "analytic")[0]
    left = frozenset(halves) - record.by_key.keys()
    computed = in_half(corrected, left)
    return Settled(corrected, computed, qdq.export(computed, record), alone, skips, left)


def _corrected(
    prepared: ir.Model, record: QuantRecord, statistics: Statistics | None, method: str
) -> tuple[ir.Model, tuple[Skip, ...]]:
    if statistics is None:
        return prepared, ()
    rounded, skips = apply_roundings(prepared, record, statistics.roundings)
    if method == "none":
        return rounded, skips
    if method == "full" and statistics.bias_shifts is not None:
        return apply_shifts(rounded, record, statistics.bias_shifts), skips
    sketches, _ = statistics.usable()
    result = correct_bias(prepared, record, sketches, rounded=rounded)
    return result.model, (*skips, *result.skips)
