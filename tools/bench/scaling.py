"""What sharing a calibration pass costs, measured on this machine, and what follows for many workers; prints JSON.

    python tools/bench/scaling.py MODEL.onnx DATA_DIR [--batches 256] [--workers 1000] [--samples 1000000]

Measured on one thread: observing a sample; size and packing time of a shard's statistics (as they travel); merging eight of
them, as a worker does, and taking one into what is known, as the collecting process does; handing out a piece with so many
workers. Statistics of 2^30 samples are made by merging the shard's with themselves, so their size is a fact.
`computed` is arithmetic on these numbers: nothing ran on so many workers.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

from amct_lite.calibration import sharding
from amct_lite.calibration.data import open_data
from amct_lite.calibration.feeds import input_specs
from amct_lite.calibration.observing import Observed, Observer
from amct_lite.calibration.store import Statistics, to_bytes
from amct_lite.config import QuantConfig
from amct_lite.loading import load_prepared
from amct_lite.plan import resolve
from amct_lite.runtime import RuntimeOptions
from amct_lite.workers import Task, Workers, map_shards

NETWORK = 10e9 / 8
"""Bytes a second of the collecting machine's network card: 10 Gbit/s."""


def seconds(run: Callable[[], object], repeat: int = 5) -> float:
    """The median."""
    found = []
    for _ in range(repeat):
        start = time.perf_counter()
        run()
        found.append(time.perf_counter() - start)
    return sorted(found)[repeat // 2]


class Idle(Executor):
    """Another thread answers as many pieces as come, with nothing done, the latest last."""

    def __init__(self) -> None:
        self._asked: SimpleQueue[tuple[Future[Any], Any]] = SimpleQueue()
        Thread(target=self._answer, daemon=True).start()

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self._asked.put((future, args[4]))  # the piece, as `workers` submits it
        return future

    def _answer(self) -> None:
        while True:
            future, item = self._asked.get()
            future.set_result(item)


def handing_out(workers: int, pieces: int = 20_000) -> float:
    """Seconds of this process for one piece."""
    task: Task[bytes, int, int] = Task(b"", bytes, max)
    start = time.perf_counter()
    for _ in map_shards(Workers(Idle(), count=workers), task, range(pieces)):
        pass
    return (time.perf_counter() - start) / pieces


def size(statistics: Statistics) -> int:
    """In memory."""
    return sum(array.nbytes for sketch in statistics.sketches.values() for array in sketch.to_arrays().values())


def computed(found: dict[str, float], workers: int, samples: int, batches: int) -> dict[str, float]:
    """The pass over `samples` in shards of so many batches of one sample. Larger batches are cheaper."""
    shards = samples / batches
    most, levels = 2 * workers, 0
    while (most := most // sharding._MERGED_AT_ONCE) > 1:
        levels += 1
    parts = [shards / sharding._MERGED_AT_ONCE**level for level in range(levels + 1)]
    merging = sum(parts[1:]) * found["merge_eight_seconds"]
    # Each part comes here; those that are merged by workers go out again.
    travelling = (sum(parts) + sum(parts[:-1])) * found["shard_packed_bytes"]
    return {
        "workers": workers,
        "samples": samples,
        "levels_of_merging": levels,
        "worker_seconds": (samples * found["sample_seconds"] + shards * found["pack_seconds"] + merging) / workers,
        "collecting_processor_seconds": sum(parts) * found["handing_out_seconds"] + parts[-1] * found["take_in_seconds"],
        "collecting_network_seconds": travelling / NETWORK,
        "collecting_alone_seconds": shards * (found["handing_out_seconds"] + found["take_in_seconds"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--batches", type=int, default=256)
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--samples", type=int, default=1_000_000)
    args = parser.parse_args()
    prepared = load_prepared(args.model).prepared
    data = list(open_data(args.data, input_specs(prepared), batches=args.batches))
    observed = Observed.of(prepared, resolve(QuantConfig(), prepared), RuntimeOptions(threads=1), args.samples)
    observer = Observer(observed)
    observer.observe(data[:2], Statistics({}, 0, "", {}), None)
    start = time.perf_counter()
    shard = observer.observe(data, Statistics({}, 0, "", {}), None)
    sample_seconds = (time.perf_counter() - start) / shard.samples
    part = sharding.Part.of(shard, args.batches, sharding._COMPRESSION)
    room = sharding.Room(observer, None, sharding._COMPRESSION)
    many = shard
    while many.samples < 1 << 30:
        many = many.followed_by(many)
    found = {
        "tensors": len(shard.sketches),
        "shard_samples": shard.samples,
        "sample_seconds": sample_seconds,
        "shard_bytes": size(shard),
        "shard_packed_bytes": len(part.packed),
        "pack_seconds": seconds(lambda: sharding.Part.of(shard, args.batches, sharding._COMPRESSION)),
        "take_in_seconds": seconds(lambda: many.followed_by(part.unpacked())),
        "merge_eight_seconds": seconds(lambda: sharding._merge(room, (part,) * 8)),
        "handing_out_seconds": handing_out(args.workers),
        "most_samples": many.samples,
        "most_bytes": size(many),
        "most_file_bytes": len(to_bytes(many)),
    }
    print(json.dumps({"measured": found, "computed": computed(found, args.workers, args.samples, shard.samples)}, indent=2))


if __name__ == "__main__":
    main()
