"""Roundings that layers learn apart from each other, shared among workers: each goes through the float network for its own."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace

from amct_lite import ir
from amct_lite.exporters.integers import quantized_layers
from amct_lite.rounding.learn import Learned, learn_roundings
from amct_lite.rounding.lesson import Lesson
from amct_lite.workers import Task, Workers, map_shards


def learn_apart(prepared: ir.Model, lesson: Lesson, workers: Workers, progress: Callable[[int], None]) -> Learned:
    """`learn_roundings` with `apart`; progress is called with the number of layers that a worker is through with."""
    names = [item.layer.name for item in quantized_layers(prepared, lesson.record) if item.layer.name in lesson.rounders]
    # Large layers stand side by side at the end of most networks: each worker gets every so many-th.
    pieces = [tuple(names[first :: workers.count]) for first in range(min(workers.count, len(names)))]
    options = replace(lesson.options, threads=lesson.options.threads or workers.threads)
    found: list[Learned] = []
    with ir.packed(prepared, same_files=workers.same_files) as sent:
        payload = pickle.dumps((sent, replace(lesson, options=options)))
        for piece, learned in map_shards(workers, Task(payload, _enter, _learn), pieces):
            found.append(learned)
            progress(len(piece))
    roundings = {name: rounding for learned in found for name, rounding in learned.roundings.items()}
    skips = {skip.node: skip for learned in found for skip in learned.skips}
    return Learned(
        {name: roundings[name] for name in names if name in roundings},
        tuple(skips[name] for name in names if name in skips),
    )


def _enter(payload: bytes) -> tuple[ir.Model, Lesson]:
    sent, lesson = pickle.loads(payload)
    return ir.unpacked(sent), lesson


def _learn(given: tuple[ir.Model, Lesson], layers: tuple[str, ...]) -> Learned:
    return learn_roundings(*given, apart=True, only=layers)
