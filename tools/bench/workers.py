"""One worker on one core against several, each on a core of its own, over the same images, alternating; prints JSON.

    python tools/bench/workers.py MODEL.onnx DATA_DIR [--workers 2] [--repeat 5]

Two jobs: the calibration pass (`collect`, from the files), and plain inference of the same model and files, which says what the
machine itself gives to several processes. Workers are started, held to their core, and have the model before the clock runs;
without that one worker would already use a second core, as it observes one batch while ONNX Runtime runs the next. This process
is not held: what it computes (merging, above all) is told as `collecting`, in processor seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from amct_lite import ir
from amct_lite.calibration.data import CalibrationData, open_data
from amct_lite.calibration.feeds import input_specs
from amct_lite.calibration.runner import collect
from amct_lite.config import QuantConfig
from amct_lite.loading import load_prepared
from amct_lite.plan import resolve
from amct_lite.runtime import RuntimeOptions, Session, open_session
from amct_lite.workers import LocalProcesses, Task, Workers, map_shards

PIECE = 4
ONE = RuntimeOptions(threads=1)


def opened(payload: bytes) -> tuple[Session, CalibrationData]:
    model, path = payload.split(b"\0", 1)[1], payload.split(b"\0", 1)[0].decode()
    loaded = ir.load_bytes(model)
    return open_session(loaded, ONE), open_data(path, input_specs(loaded))


def infer(state: tuple[Session, CalibrationData], first: int) -> int:
    session, data = state
    for _, feeds in zip(range(PIECE), data.since(first), strict=False):
        session.run(feeds)
    return first


def pinned(count: int) -> LocalProcesses:
    """Workers each on a core of its own; of their threads all that are started later."""
    workers = LocalProcesses(count)
    for busy in [workers.executor.submit(time.sleep, 1.0) for _ in range(count)]:  # each starts one
        busy.result()
    found = workers.executor._processes  # type: ignore[attr-defined]
    for core, pid in zip(sorted(os.sched_getaffinity(0)), found, strict=False):
        os.sched_setaffinity(pid, {core})
    return workers


def timed(run: Callable[[Workers], object], workers: Workers) -> tuple[float, float]:
    """Seconds, and processor seconds of this process."""
    start, own = time.perf_counter(), time.process_time()
    run(workers)
    return time.perf_counter() - start, time.process_time() - own


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=5)
    args = parser.parse_args()
    prepared = load_prepared(args.model).prepared
    plan, specs = resolve(QuantConfig(), prepared), input_specs(prepared)
    count = open_data(args.data, specs).count or 0
    payload = str(args.data).encode() + b"\0" + ir.to_bytes(prepared)

    def plain(workers: Workers) -> None:
        for _ in map_shards(workers, Task(payload, opened, infer), range(0, count, PIECE)):
            pass

    def calibration(workers: Workers) -> None:
        collect(prepared, plan, open_data(args.data, specs), options=ONE, workers=workers)

    found: dict[str, dict[str, float]] = {}
    with pinned(1) as one, pinned(args.workers) as several:
        for name, run in (("plain inference", plain), ("calibration pass", calibration)):
            run(one), run(several)
            pairs = [(timed(run, one), timed(run, several)) for _ in range(args.repeat)]
            single, shared = (statistics.median(pair[0] for pair in column) for column in zip(*pairs, strict=True))
            ratios = sorted(a / b for (a, _), (b, _) in pairs)
            found[name] = {
                "one_worker_seconds": round(single, 3),
                f"{args.workers}_workers_seconds": round(shared, 3),
                "times_as_fast": round(statistics.median(ratios), 3),
                "least": round(ratios[0], 3),
                "most": round(ratios[-1], 3),
                "collecting": round(statistics.median(own for _, (_, own) in pairs), 3),
            }
    print(json.dumps({"images": count, **found}, indent=2))


if __name__ == "__main__":
    main()
