"""Roundings that layers learn apart from each other, shared among workers: each goes through the float network for its own."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from amct_lite import ir
from amct_lite.exporters.integers import quantized_layers
from amct_lite.rounding.learn import Learned, learn_roundings
from amct_lite.runtime import RuntimeOptions
from amct_lite.types import Feeds, QuantRecord
from amct_lite.weights import Rounder
from amct_lite.workers import Task, Workers, map_shards


@dataclass(frozen=True)
class _Lesson:
    """What workers learn from; the model as it travels, or there."""

    model: ir.Model | ir.Sent
    record: QuantRecord
    rounders: Mapping[str, Rounder]
    data: Sequence[Feeds]
    corrected: bool
    options: RuntimeOptions


def learn_apart(
    prepared: ir.Model,
    record: QuantRecord,
    rounders: Mapping[str, Rounder],
    data: Sequence[Feeds],
    workers: Workers,
    *,
    corrected: bool,
    options: RuntimeOptions,
    progress: Callable[[int], None],
) -> Learned:
    """`learn_roundings` with `apart`; progress is called with the number of layers that a worker is through with."""
    names = [item.layer.name for item in quantized_layers(prepared, record) if item.layer.name in rounders]
    # Large layers stand side by side at the end of most networks: each worker gets every so many-th.
    pieces = [tuple(names[first :: workers.count]) for first in range(min(workers.count, len(names)))]
    chosen = replace(options, threads=options.threads or workers.threads)
    found: list[Learned] = []
    with ir.packed(prepared, same_files=workers.same_files) as sent:
        payload = pickle.dumps(_Lesson(sent, record, rounders, data, corrected, chosen))
        for piece, learned in map_shards(workers, Task(payload, _enter, _learn), pieces):
            found.append(learned)
            progress(len(piece))
    roundings = {name: rounding for learned in found for name, rounding in learned.roundings.items()}
    skips = {skip.node: skip for learned in found for skip in learned.skips}
    return Learned(
        {name: roundings[name] for name in names if name in roundings},
        tuple(skips[name] for name in names if name in skips),
    )


def _enter(payload: bytes) -> _Lesson:
    lesson: _Lesson = pickle.loads(payload)
    assert not isinstance(lesson.model, ir.Model)
    return replace(lesson, model=ir.unpacked(lesson.model))


def _learn(lesson: _Lesson, layers: tuple[str, ...]) -> Learned:
    assert isinstance(lesson.model, ir.Model)
    return learn_roundings(
        *(lesson.model, lesson.record, lesson.rounders, lesson.data),
        corrected=lesson.corrected,
        apart=True,
        only=layers,
        options=lesson.options,
    )
