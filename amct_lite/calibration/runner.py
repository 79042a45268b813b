"""Runs the float model over the calibration data and keeps sketches, never activations.

The cost is one inference pass plus the reductions inside the bypass nodes and a histogram of a subset of each tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from amct_lite import ir
from amct_lite.calibration.gather import Gatherer
from amct_lite.calibration.nodes import Tap, insert
from amct_lite.calibration.store import Statistics
from amct_lite.calibration.tame import batch_size
from amct_lite.errors import CalibrationError
from amct_lite.runtime import RuntimeOptions, open_session
from amct_lite.types import AnyArray, Feeds, QuantPlan

_KEPT_FEEDS = 64
_KEPT_BYTES = 64 << 20


@dataclass(frozen=True)
class Calibration:
    """What one pass over the data leaves: statistics, and a few feeds with the float model's own answers."""

    statistics: Statistics
    feeds: tuple[Feeds, ...]
    outputs: tuple[tuple[AnyArray, ...], ...]


def collect(
    model: ir.Model,
    plan: QuantPlan,
    data: Iterable[Feeds],
    *,
    options: RuntimeOptions | None = None,
    progress: Callable[[int], None] = lambda _batches: None,
) -> Calibration:
    """Sketches of all tensors of `plan` over all of `data`; `model` is not modified.

    The first few feeds are kept with the float outputs (at most 64 feeds and 64 MiB), for the checks that follow.
    progress: called with 1 after each batch.
    Raises CalibrationError when there is no data, or when a tensor holds NaN or infinity (names tensor and sample).
    """
    taps = tuple(Tap(t.name, t.channel_axis, t.channels) for t in plan.tensors)
    observed = ir.clone(model)
    outputs = tuple(str(value.name) for value in model.graph.outputs)
    taken = insert(observed, taps, plan.readers)
    session = open_session(observed, options or RuntimeOptions())
    known = Statistics({}, 0, ir.checksum(model), {})
    kept = Kept()
    with Gatherer(taps) as gatherer:
        for feeds in data:
            results = session.run(feeds, (*taken, *outputs) if kept.open else taken)
            gatherer.add(results[: len(taken)], batch_size(feeds))
            if kept.open:
                kept.add(feeds, tuple(results[len(taken) :]))
            known = known.with_shapes({name: array.shape for name, array in feeds.items()})
            progress(1)
    if not gatherer.samples:
        raise CalibrationError("the calibration data is empty. Pass at least one sample.")
    return Calibration(
        replace(known, sketches=gatherer.sketches, samples=gatherer.samples), tuple(kept.feeds), tuple(kept.outputs)
    )


def keep(
    model: ir.Model, data: Iterable[Feeds], options: RuntimeOptions | None = None
) -> tuple[tuple[Feeds, ...], tuple[tuple[AnyArray, ...], ...]]:
    """The first few feeds of `data` and the float model's outputs for them, as `collect` keeps them."""
    session = open_session(model, options or RuntimeOptions())
    kept = Kept()
    for feeds in data:
        kept.add(feeds, tuple(session.run(feeds)))
        if not kept.open:
            break
    return tuple(kept.feeds), tuple(kept.outputs)


class Kept:
    """Feeds and outputs that stay in memory, up to a fixed size."""

    def __init__(self) -> None:
        self.feeds: list[Feeds] = []
        self.outputs: list[tuple[AnyArray, ...]] = []
        self._bytes = 0

    @property
    def open(self) -> bool:
        return len(self.feeds) < _KEPT_FEEDS and self._bytes < _KEPT_BYTES

    def add(self, feeds: Feeds, outputs: tuple[AnyArray, ...]) -> None:
        self.feeds.append(feeds)
        self.outputs.append(outputs)
        self._bytes += sum(array.nbytes for array in (*feeds.values(), *outputs))
