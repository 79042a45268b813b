"""The float model with its bypass nodes, and a stretch of batches run through it: in this process or in a worker."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from amct_lite import ir
from amct_lite.calibration.gather import Gatherer
from amct_lite.calibration.nodes import Tap, insert, subset_of
from amct_lite.calibration.store import Statistics
from amct_lite.calibration.tame import batch_size
from amct_lite.lanes import in_lanes, shared
from amct_lite.runtime import RuntimeOptions, apart, open_session
from amct_lite.types import AnyArray, Feeds, QuantPlan

MOST_KEPT = 64
KEPT_BYTES = 64 << 20


@dataclass(frozen=True)
class Observed:
    """What an `Observer` is made of: the model with bypass nodes, the names of what they give out, and those of the model's own
    outputs."""

    model: ir.Model | ir.Sent
    taps: tuple[Tap, ...]
    taken: tuple[str, ...]
    outputs: tuple[str, ...]
    options: RuntimeOptions

    @staticmethod
    def of(model: ir.Model, plan: QuantPlan, options: RuntimeOptions, samples: int | None) -> Observed:
        """The tensors of `plan` in `model`, which is not modified. samples: how many there will be, None when unknown."""
        taps = tuple(Tap(t.name, t.channel_axis, t.channels) for t in plan.tensors)
        changed = ir.clone(model)
        outputs = tuple(str(value.name) for value in model.graph.outputs)
        taken = insert(changed, taps, plan.readers, subset_of(samples))
        return Observed(changed, taps, taken, outputs, options)

    @contextmanager
    def travelling(self, options: RuntimeOptions, *, same_files: bool) -> Iterator[Observed]:
        """What a worker gets; inside of the context, it finds the model. same_files: as for `ir.packed`."""
        assert isinstance(self.model, ir.Model)
        with ir.packed(self.model, same_files=same_files) as sent:
            yield replace(self, model=sent, options=options)


class Kept:
    """Feeds and outputs that stay in memory, up to a fixed size."""

    def __init__(self) -> None:
        self.feeds: list[Feeds] = []
        self.outputs: list[tuple[AnyArray, ...]] = []
        self._bytes = 0

    @property
    def open(self) -> bool:
        return len(self.feeds) < MOST_KEPT and self._bytes < KEPT_BYTES

    def add(self, feeds: Feeds, outputs: tuple[AnyArray, ...]) -> None:
        self.feeds.append(feeds)
        self.outputs.append(tuple(map(apart, outputs)))
        self._bytes += sum(array.nbytes for array in (*feeds.values(), *outputs))


SoFar = Callable[[], Statistics]


class Observer:
    """Runs batches and observes them."""

    def __init__(self, observed: Observed) -> None:
        if not isinstance(observed.model, ir.Model):
            ir.require_seen(observed.model)
        self._taps, self._taken, self._outputs = observed.taps, observed.taken, observed.outputs
        options, self._lanes = shared(observed.options)
        self._session = open_session(observed.model, options)
        self.placement = self._session.placement

    def observe(
        self, data: Iterable[Feeds], onto: Statistics, kept: Kept | None, after: Callable[[SoFar], None] = lambda _so_far: None
    ) -> Statistics:
        """`onto` with `data`, whose samples follow those of `onto`; its sketches are changed in place.

        kept: takes the first batches while it is open. after: called after each batch with what gives the statistics so far.
        Raises CalibrationError when a tensor holds NaN or infinity (names tensor and sample).
        """
        width, known = len(self._taken), onto
        with Gatherer(self._taps, onto=onto.sketches, samples=onto.samples) as gatherer:

            def so_far() -> Statistics:
                return replace(known, sketches=gatherer.settle(), samples=gatherer.samples)

            def run(feeds: Feeds) -> list[AnyArray]:
                return self._session.run(feeds, (*self._taken, *self._outputs) if kept and kept.open else self._taken)

            for feeds, results in in_lanes(self._lanes, run, map(_own, data)):
                gatherer.add(results[:width], batch_size(feeds))
                if kept is not None and kept.open:
                    kept.add(feeds, tuple(results[width:]))
                known = known.with_shapes({name: array.shape for name, array in feeds.items()})
                after(so_far)
        return replace(known, sketches=gatherer.sketches, samples=gatherer.samples)

    def keep(self, data: Iterable[Feeds], kept: Kept) -> None:
        """Let `kept` have the first of `data`, as `observe` does; all of `data` is taken, nothing observed."""
        for feeds in data:
            if kept.open:
                results = self._session.run(feeds, (*self._taken, *self._outputs))
                kept.add(feeds, tuple(results[len(self._taken) :]))


def _own(feeds: Feeds) -> Feeds:
    """A copy: the next batch may be written to the same memory while this one is under way or kept."""
    return {name: np.array(array) for name, array in feeds.items()}
