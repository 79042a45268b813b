"""How fast two models run beside each other on this machine, now."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from amct_lite import ir
from amct_lite.runtime import RuntimeOptions, Session, is_heavy, open_session
from amct_lite.types import Feeds

ROUNDS = 5
SECONDS = 0.05
"""A round of one model; the two take turns, so that whatever else the machine does slows both."""


@dataclass(frozen=True)
class Speed:
    """Median milliseconds of one run of either model."""

    float_ms: float
    integer_ms: float

    @property
    def ratio(self) -> float:
        """Below 1: the integer model is faster."""
        return self.integer_ms / self.float_ms


def compare_speed(exact: ir.Model, integer: ir.Model, feeds: Sequence[Feeds], options: RuntimeOptions | None = None) -> Speed:
    """Run `exact` (the float model) and `integer` in turns on the first of `feeds`, large ones one after the other. Takes about
    half a second.

    The result is a measurement: it is told, and never written to a file that is to be the same each time.
    """
    if is_heavy(exact, integer):
        return Speed(*_medians([exact], feeds[0], options), *_medians([integer], feeds[0], options))
    return Speed(*_medians([exact, integer], feeds[0], options))


def _medians(models: Sequence[ir.Model], feeds: Feeds, options: RuntimeOptions | None) -> Iterator[float]:
    """Milliseconds of each of `models`, which take turns."""
    sessions = [open_session(model, options) for model in models]
    given = [{name: feeds[name] for name in session.input_names} for session in sessions]
    rounds = [[_milliseconds(s, f) for s, f in zip(sessions, given, strict=True)] for _ in range(ROUNDS + 1)]
    return (statistics.median(column) for column in zip(*rounds[1:], strict=True))


def _milliseconds(session: Session, feeds: Feeds) -> float:
    times: list[float] = []
    end = time.perf_counter() + SECONDS
    while not times or time.perf_counter() < end:
        start = time.perf_counter()
        session.run(feeds)
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e3
