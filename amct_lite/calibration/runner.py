"""Runs the float model over the calibration data and keeps sketches, never activations.

The cost is one inference pass plus the reductions inside the bypass nodes and a histogram of a subset of each tensor. The
pass can be shared among workers, and it can save itself so that a later run goes on from there; neither changes a byte.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice

from amct_lite import ir
from amct_lite.calibration.checkpoint import Checkpoint, Saving
from amct_lite.calibration.data import CalibrationData
from amct_lite.calibration.feeds import content_of
from amct_lite.calibration.nodes import Tap
from amct_lite.calibration.observing import MOST_KEPT, Kept, Observed, Observer, SoFar
from amct_lite.calibration.store import Statistics
from amct_lite.errors import CalibrationError
from amct_lite.runtime import RuntimeOptions, open_session
from amct_lite.types import AnyArray, Feeds, QuantPlan
from amct_lite.workers import Workers


@dataclass(frozen=True)
class Calibration:
    """What one pass over the data leaves: statistics, and a few feeds with the float model's own answers.

    placement: a sentence about nodes that did not run on the execution provider that was asked for.
    """

    statistics: Statistics
    feeds: tuple[Feeds, ...]
    outputs: tuple[tuple[AnyArray, ...], ...]
    placement: str = ""

    def notes(self) -> tuple[str, ...]:
        """Where the statistics come from, and what should be known of the run."""
        return (*self.statistics.notes(), *((self.placement,) if self.placement else ()))


def collect(
    model: ir.Model,
    plan: QuantPlan,
    data: Iterable[Feeds],
    *,
    options: RuntimeOptions | None = None,
    workers: Workers | None = None,
    checkpoint: Checkpoint | None = None,
    progress: Callable[[int], None] = lambda _batches: None,
) -> Calibration:
    """Sketches of all tensors of `plan` over all of `data`; `model` is not modified.

    The first few feeds are kept with the float outputs (at most 64 feeds and 64 MiB), for the checks that follow.
    workers: who shares the pass. checkpoint: where it is saved, and whether it goes on from there.
    progress: called with the number of batches that were done since the last call.
    Raises CalibrationError when there is no data, or when a tensor holds NaN or infinity (names tensor and sample).
    """
    checksum = ir.checksum(model)
    observed = Observed.of(
        model, plan, options or RuntimeOptions(), data.samples if isinstance(data, CalibrationData) else None
    )
    saving = Saving(checkpoint, _owner(checksum, observed.taps, plan.readers, data, observed.options)) if checkpoint else None
    known, done = (saving and saving.read()) or (Statistics({}, 0, checksum, {}), 0)
    kept = Kept()
    if checkpoint and done:
        checkpoint.on_resume(checkpoint.stage, done, data.count if isinstance(data, CalibrationData) else None)
        progress(done)
    stream = _continued(data, done, observed, kept) if done else iter(data)

    def after(batches: int, so_far: SoFar) -> None:
        nonlocal done
        done += batches
        if saving and saving.due:
            saving.write(so_far(), done)
        progress(batches)

    if workers:
        from amct_lite.calibration.sharding import Batches, observe_sharded

        known, placement = observe_sharded(observed, Batches.of(data, stream, done), workers, known, kept, after)
    else:
        observer = Observer(observed)
        known, placement = observer.observe(stream, known, kept, partial(after, 1)), observer.placement
    if not known.samples:
        raise CalibrationError("the calibration data is empty. Pass at least one sample.")
    if saving and saving.begun:
        saving.write(known, done)  # what comes after a long pass may be interrupted, too
    return Calibration(known, tuple(kept.feeds), tuple(kept.outputs), placement)


def _owner(
    checksum: str, taps: tuple[Tap, ...], readers: Iterable[tuple[str, int]], data: Iterable[Feeds], options: RuntimeOptions
) -> dict[str, str]:
    """What the statistics of a pass depend on; of the data their description and the content of the first batch. Range methods
    and widths are not among it: these decide from the same statistics."""
    told: list[object] = [type(data).__name__]
    if isinstance(data, CalibrationData):
        first = [(name, array.shape, hashlib.sha256(content_of(array)).hexdigest()) for name, array in data.peek().items()]
        told = [data.description, data.count, first]
    return {
        "model": checksum,
        "plan": hashlib.sha256(repr((taps, sorted(readers))).encode()).hexdigest(),
        "data": hashlib.sha256(repr(told).encode()).hexdigest(),
        "runtime": hashlib.sha256(repr((options.providers, options.session_config)).encode()).hexdigest(),
    }


def _continued(data: Iterable[Feeds], done: int, observed: Observed, kept: Kept) -> Iterator[Feeds]:
    """What of `data` is left after `done` batches; the first of these are kept as they were before the interruption."""
    observer = Observer(observed)
    if isinstance(data, CalibrationData) and data.repeatable:
        observer.keep(islice(iter(data), min(done, MOST_KEPT)), kept)
        return data.since(done)
    stream = iter(data)
    observer.keep(islice(stream, done), kept)
    return stream


def keep(
    model: ir.Model, data: Iterable[Feeds], options: RuntimeOptions | None = None, *, optimize: bool = True
) -> tuple[tuple[Feeds, ...], tuple[tuple[AnyArray, ...], ...]]:
    """The first few feeds of `data` and the model's outputs for them, as `collect` keeps them. optimize: as `open_session`."""
    session = open_session(model, options or RuntimeOptions(), optimize=optimize)
    kept = Kept()
    for feeds in data:
        kept.add(feeds, tuple(session.run(feeds)))
        if not kept.open:
            break
    return tuple(kept.feeds), tuple(kept.outputs)
