"""Rounding learned layer by layer: each layer reads what the quantized and rounded layers in front of it give, and is to give
what the float layer gives.

The last quarter of the output positions is not learned from: a layer keeps its rounding only if it is better than the nearest
one there. Nothing here depends on the number of samples but the time for running them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from amct_lite import ir
from amct_lite.exporters.integers import QuantizedLayer, quantized_layers
from amct_lite.ops.base import Columns
from amct_lite.rounding.course import Apart, Course
from amct_lite.rounding.lesson import Lesson
from amct_lite.rounding.sampling import Problem, problem_of
from amct_lite.types import IntArray, Skip
from amct_lite.weights import Rounder, Rounding

FEWEST_POSITIONS = 32
_HELD_OUT = 4


@dataclass(frozen=True)
class Learned:
    """roundings: by layer. skips: the layers whose weight stays rounded to nearest, and why."""

    roundings: dict[str, Rounding]
    skips: tuple[Skip, ...]


def learn_roundings(
    prepared: ir.Model,
    lesson: Lesson,
    *,
    apart: bool = False,
    only: Collection[str] | None = None,
    progress: Callable[[int], None] = lambda _layers: None,
) -> Learned:
    """What the rounder of each layer decides. apart: each layer as if it were the only one that is quantized. only: of those
    that learn apart, these; they learn the same as among all.

    progress: called with 1 after each of these layers.
    """
    record, rounders, data, options = lesson.record, lesson.rounders, lesson.data, lesson.options
    items = quantized_layers(prepared, record)
    wanted = {name for name in rounders if only is None or name in only}
    columns = {item.layer.name: _columns(item, items) for item in items if item.layer.name in rounders}
    learning = {name for name, found in columns.items() if not isinstance(found, str)}
    course: Course | Apart = (
        Apart(prepared, items, learning, data, options) if apart else Course(prepared, record, items, learning, data, options)
    )
    roundings: dict[str, Rounding] = {}
    skips: list[Skip] = []
    for number, item in enumerate(items):
        layer = item.layer
        gather = columns.get(layer.name)
        if gather is None or isinstance(gather, str):
            course.skip(item)
            reason = gather
        else:
            values, exact = course.approach(item)
            if layer.name not in wanted:
                continue
            centred = lesson.corrected and layer.bias is not None
            problem = problem_of(item, gather, values, exact, seed=number, corrected=centred)
            found = _learned(rounders[layer.name], problem)
            codes, reason = (problem.task.nearest(), found) if isinstance(found, str) else (found[1], None)
            if not isinstance(found, str):
                roundings[layer.name] = found[0]
            course.go_on(item, codes, problem.shift(codes))
        if reason is not None and layer.name in wanted:
            skips.append(Skip(layer.name, layer.op_type, f"its weight is rounded to nearest: {reason}"))
        if layer.name in wanted:
            progress(1)
            wanted.remove(layer.name)
        if apart and not wanted:
            break
    return Learned(roundings, tuple(skips))


def _columns(item: QuantizedLayer, items: Sequence[QuantizedLayer]) -> Columns | str:
    columns = item.spec.columns(item.layer)
    readers = Counter(other.layer.weight_value for other in items)
    if readers[item.layer.weight_value] > 1 and not isinstance(columns, str):
        return "several layers share it"
    return columns


def _learned(rounder: Rounder, problem: Problem) -> tuple[Rounding, IntArray] | str:
    """The best of the candidates, or why none is taken."""
    task = problem.task
    positions = task.columns.shape[0]
    if positions < FEWEST_POSITIONS:
        return f"{positions} outputs are too few to learn from, {FEWEST_POSITIONS} at least are needed (more samples)"
    seen, unseen = task.parts(positions - positions // _HELD_OUT)
    before = unseen.error(task.nearest())
    after, codes = min(((unseen.error(codes), codes) for codes in rounder.candidates(seen)), key=lambda pair: pair[0])
    if after >= before:
        return "no other rounding is better on samples that it was not learned from"
    return Rounding.of(task, codes, repr(rounder), before, after), codes
