"""How fast models run beside each other on this machine, now."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from amct_lite import ir
from amct_lite.runtime import RuntimeOptions, Session, is_heavy, open_session
from amct_lite.types import DoubleArray, Feeds
from amct_lite.workers import cores

ROUNDS = 5
SECONDS = 0.05
"""A round of one model."""
BUSY = 1.5
"""Runs of one model that scatter like this say more of the machine than of the model."""


@dataclass(frozen=True)
class Speed:
    """Milliseconds of one run of either model, `undisturbed`. threads: of ONNX Runtime;
    shapes: of the inputs. scatter: the upper over the lower quartile, of the model that scatters more."""

    float_ms: float
    integer_ms: float
    threads: int
    shapes: Mapping[str, tuple[int, ...]]
    scatter: float = 1.0

    @property
    def ratio(self) -> float:
        """Below 1: the integer model is faster."""
        return self.integer_ms / self.float_ms

    @property
    def busy(self) -> bool:
        """Whether the machine had other things to do."""
        return self.scatter > BUSY


def compare_speed(exact: ir.Model, integer: ir.Model, feeds: Sequence[Feeds], options: RuntimeOptions | None = None) -> Speed:
    """Run `exact` (the float model) and `integer` on the first of `feeds`, as `run_times` does. Takes about half a second.

    The result is a measurement: it is told, and never written to a file that is to be the same each time.
    """
    chosen, given = options or RuntimeOptions(), feeds[0]
    taken = run_times([exact, integer], given, chosen)
    exact_ms, integer_ms = map(undisturbed, taken)
    shapes = {str(value.name): given[str(value.name)].shape for value in exact.graph.inputs}
    scatter = max(float(np.percentile(times, 75)) / undisturbed(times) for times in taken)
    return Speed(exact_ms, integer_ms, chosen.threads or cores(), shapes, scatter)


def undisturbed(times: DoubleArray) -> float:
    """The lower quartile, which other programs hardly move."""
    return float(np.percentile(times, 25))


def run_times(models: Sequence[ir.Model], feeds: Feeds, options: RuntimeOptions) -> list[DoubleArray]:
    """Milliseconds of all runs of each of `models`, which take turns, so that whatever else the machine does slows all of them;
    large ones run one after the other. A round of a model lasts SECONDS, or one run; the first of the rounds warms up."""
    if len(models) > 1 and is_heavy(*models):
        return [times for model in models for times in run_times([model], feeds, options)]
    sessions = [open_session(model, options) for model in models]
    given = [{name: feeds[name] for name in session.input_names} for session in sessions]
    rounds = [[_milliseconds(s, f) for s, f in zip(sessions, given, strict=True)] for _ in range(ROUNDS + 1)]
    return [np.concatenate(column) for column in zip(*rounds[1:], strict=True)]


def _milliseconds(session: Session, feeds: Feeds) -> DoubleArray:
    times: list[float] = []
    end = time.perf_counter() + SECONDS
    while not times or time.perf_counter() < end:
        start = time.perf_counter()
        session.run(feeds)
        times.append(time.perf_counter() - start)
    return np.array(times) * 1e3
