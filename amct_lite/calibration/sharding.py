"""A pass over the data shared among workers: each observes runs of consecutive batches, which are put together in order.

Sketches merge exactly and the order is that of the data, so the result is that of one process, byte for byte. Workers open data
that lie in files themselves and read their own part; data that only this process has travel in pieces. Where there are many
workers, they also merge: eight neighbours at a time, and eight of what comes of these, so that this process has an eighth, or a
sixty-fourth, of the merging to do.
"""

from __future__ import annotations

import pickle
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial, reduce
from itertools import islice

from amct_lite.calibration.data import CalibrationData
from amct_lite.calibration.observing import MOST_KEPT, Kept, Observed, Observer, SoFar
from amct_lite.calibration.store import Statistics
from amct_lite.errors import CalibrationError
from amct_lite.types import AnyArray, Feeds
from amct_lite.workers import Task, Workers, map_shards

_MOST_BATCHES = 64
_FEW_SAMPLES = 256
"""Small batches make shards of so many samples, where there are enough of them: a shard's statistics hardly grow beyond."""
_SHARDS_A_WORKER = 4
_PIECE_BYTES = 8 << 20
_MERGED_AT_ONCE = 8
_COMPRESSION = 1
"""Of what comes from other machines: the higher levels of zlib gain a few percent, and take twice as long."""

Reopen = Callable[[], CalibrationData]


@dataclass(frozen=True)
class Shard:
    """Batches `first` to `first + count`. feeds: the batches themselves, None where the worker reads them from `reopen`.

    samples: how many lie before it, once that is known.
    """

    first: int
    count: int
    feeds: tuple[Feeds, ...] | None = None
    keeping: bool = False
    samples: int | None = None


@dataclass(frozen=True)
class Part:
    """So many consecutive batches, observed. packed: what is known of them (a calibration file takes three times as long)."""

    packed: bytes
    batches: int

    @staticmethod
    def of(statistics: Statistics, batches: int, compression: int) -> Part:
        """compression: zlib's level, 0 for none."""
        return Part(zlib.compress(pickle.dumps(statistics, protocol=5), compression), batches)

    def unpacked(self) -> Statistics:
        """What was packed."""
        statistics: Statistics = pickle.loads(zlib.decompress(self.packed))
        return statistics


@dataclass(frozen=True)
class Seen:
    """What comes back. samples: how many there were; the other two as in `Calibration`, where wanted."""

    part: Part
    samples: int
    feeds: tuple[Feeds, ...]
    outputs: tuple[tuple[AnyArray, ...], ...]
    placement: str


@dataclass(frozen=True)
class Room:
    """What a worker holds for all its shards."""

    observer: Observer
    data: CalibrationData | None
    compression: int


@dataclass(frozen=True)
class Batches:
    """Data from batch `first` on. stream: the batches, for this process. reopen: gives all of the data elsewhere, `total`
    batches of them; None where it cannot. most: of them in a shard."""

    stream: Iterator[Feeds]
    first: int = 0
    total: int | None = None
    reopen: Reopen | None = None
    most: int = _MOST_BATCHES

    @staticmethod
    def of(data: Iterable[Feeds], stream: Iterator[Feeds], first: int) -> Batches:
        """stream: what is left of `data` from batch `first` on."""
        if not isinstance(data, CalibrationData):
            return Batches(stream, first)
        if data.count is None or data.samples is None:
            return Batches(stream, first)
        most = max(_MOST_BATCHES, _FEW_SAMPLES * data.count // data.samples)
        return Batches(stream, first, data.count, data.reopen, most)


def observe_sharded(
    observed: Observed,
    batches: Batches,
    workers: Workers,
    onto: Statistics,
    kept: Kept,
    after: Callable[[int, SoFar], None],
) -> tuple[Statistics, str]:
    """`onto` with `batches`, like `Observer.observe`, and the placement of the workers' nodes as in `Session`.

    after: called after each part with the number of its batches and what gives the statistics so far.
    """
    options = replace(observed.options, threads=observed.options.threads or workers.threads)
    known = onto
    with observed.travelling(options, same_files=workers.same_files) as sent:
        compression = 0 if workers.same_files else _COMPRESSION
        crew = _Crew(workers, pickle.dumps((sent, batches.reopen, compression)), kept)
        parts = crew.observed(_shards(batches, workers.count, kept), onto.samples)
        most = 2 * workers.count
        while (most := most // _MERGED_AT_ONCE) > 1:
            parts = crew.merged(parts, most)
        for part in parts:
            known = known.followed_by(part.unpacked())
            after(part.batches, partial(_itself, known))
    return known, crew.placement


class _Crew:
    """placement: as in `Session`, once a worker has told it."""

    def __init__(self, workers: Workers, payload: bytes, kept: Kept) -> None:
        self._workers = workers
        self._payload = payload
        self._kept = kept
        self.placement = ""

    def observed(self, shards: Iterable[Shard], samples: int) -> Iterator[Part]:
        """One part for each shard. samples: the number of the first one."""
        task: Task[Room, Shard, Seen | None] = Task(self._payload, _enter, _observe)
        for shard, seen in map_shards(self._workers, task, shards):
            if seen is None:  # the shard holds a value that must be named by the number of its sample
                _, seen = next(map_shards(self._workers, task, [replace(shard, samples=samples)]))
            assert seen is not None
            samples += seen.samples
            for feeds, outputs in zip(seen.feeds, seen.outputs, strict=True):
                if self._kept.open:
                    self._kept.add(feeds, outputs)
            self.placement = self.placement or seen.placement
            yield seen.part

    def merged(self, parts: Iterator[Part], most: int) -> Iterator[Part]:
        """One part for each few of `parts`, made by workers. most: of these that are under way at a time."""
        task: Task[Room, tuple[Part, ...], Part] = Task(self._payload, _enter, _merge)
        groups = iter(lambda: tuple(islice(parts, _MERGED_AT_ONCE)), ())
        for _, part in map_shards(self._workers, task, groups, most=most):
            yield part


def _itself(statistics: Statistics) -> Statistics:
    return statistics


def _shards(batches: Batches, workers: int, kept: Kept) -> Iterator[Shard]:
    """Asked for one by one: as soon as `kept` is full, shards need not bring anything for it."""
    first, total = batches.first, batches.total
    size = batches.most if total is None else max(1, min(batches.most, -(-(total - first) // (_SHARDS_A_WORKER * workers))))
    if batches.reopen is not None and total is not None:
        for start in range(first, total, size):
            yield Shard(start, min(size, total - start), None, kept.open and start < MOST_KEPT)
        return
    for piece in _pieces(batches.stream, size):
        yield Shard(first, len(piece), piece, kept.open and first < MOST_KEPT)
        first += len(piece)


def _pieces(batches: Iterator[Feeds], size: int) -> Iterator[tuple[Feeds, ...]]:
    piece: list[Feeds] = []
    held = 0
    for feeds in batches:
        piece.append(feeds)
        held += sum(array.nbytes for array in feeds.values())
        if len(piece) == size or held >= _PIECE_BYTES:
            yield tuple(piece)
            piece, held = [], 0
    if piece:
        yield tuple(piece)


def _enter(payload: bytes) -> Room:
    observed, reopen, compression = pickle.loads(payload)
    return Room(Observer(observed), reopen() if reopen else None, compression)


def _observe(room: Room, shard: Shard) -> Seen | None:
    """None for values that cannot be observed, as long as the number of the shard's first sample is not known."""
    if shard.feeds is not None:
        batches: Iterable[Feeds] = shard.feeds
    else:
        assert room.data is not None
        batches = islice(room.data.since(shard.first), shard.count)
    kept = Kept() if shard.keeping else None
    try:
        statistics = room.observer.observe(batches, Statistics({}, shard.samples or 0, "", {}), kept)
    except CalibrationError:
        if shard.samples is None:
            return None
        raise
    feeds, outputs = (tuple(kept.feeds), tuple(kept.outputs)) if kept else ((), ())
    part = Part.of(statistics, shard.count, room.compression)
    return Seen(part, statistics.samples, feeds, outputs, room.observer.placement)


def _merge(room: Room, parts: tuple[Part, ...]) -> Part:
    statistics = reduce(Statistics.followed_by, (part.unpacked() for part in parts))
    return Part.of(statistics, sum(part.batches for part in parts), room.compression)
