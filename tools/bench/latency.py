"""Latency of several versions of one model, side by side; prints medians and their ratios to the first, and JSON with --json.

    python tools/bench/latency.py float.onnx ours.onnx theirs.onnx [--threads 2] [--feeds sample.npz]

Each model runs in a process of its own, because two sessions in one process disturb each other; all wait while one of
them works, and the order of the rounds alternates. Without --feeds all get the same random images (open dimensions: 1).
Needs numpy and onnxruntime.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path


def work(connection: Connection, path: str, threads: int, sample: Path | None) -> None:
    """Answers each number of seconds with the median seconds of a run within that time."""
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    if sample is not None:
        with np.load(sample) as archive:
            feeds = {value.name: archive[value.name] for value in session.get_inputs()}
    else:
        random = np.random.default_rng(0)
        shapes = {v.name: tuple(d if isinstance(d, int) and d > 0 else 1 for d in v.shape) for v in session.get_inputs()}
        feeds = {name: random.standard_normal(shape, np.float32) for name, shape in shapes.items()}
        codes = {v.name for v in session.get_inputs() if v.type == "tensor(uint8)"}
        feeds |= {name: (128 + 32 * feeds[name]).astype(np.uint8) for name in codes}
    for _ in range(5):
        session.run(None, feeds)
    connection.send("ready")
    while seconds := connection.recv():
        times, end = [], time.perf_counter() + seconds
        while time.perf_counter() < end:
            start = time.perf_counter()
            session.run(None, feeds)
            times.append(time.perf_counter() - start)
        connection.send(statistics.median(times))


def measure(paths: list[Path], *, threads: int, rounds: int, seconds: float, sample: Path | None) -> list[float]:
    """Median milliseconds of each model."""
    context = get_context("spawn")
    workers = []
    for path in paths:
        ours, theirs = context.Pipe()
        process = context.Process(target=work, args=(theirs, str(path), threads, sample), daemon=True)
        process.start()
        theirs.close()
        ours.recv()
        workers.append((ours, process))
    found: list[list[float]] = [[] for _ in paths]
    for number in range(rounds):
        order = range(len(paths)) if number % 2 == 0 else reversed(range(len(paths)))
        for index in order:
            workers[index][0].send(seconds)
            found[index].append(workers[index][0].recv() * 1e3)
    for connection, process in workers:
        connection.send(0)
        process.join()
    return [statistics.median(times) for times in found]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--feeds", type=Path, metavar="NPZ")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if missing := [str(path) for path in (*args.models, *([args.feeds] if args.feeds else [])) if not path.is_file()]:
        parser.error(f"no such file: {', '.join(missing)}")
    times = measure(args.models, threads=args.threads, rounds=args.rounds, seconds=args.seconds, sample=args.feeds)
    if args.json:
        json.dump(
            [{"model": str(p), "ms": t, "ratio": t / times[0]} for p, t in zip(args.models, times, strict=True)], sys.stdout
        )
        return
    width = max(len(path.name) for path in args.models)
    for path, milliseconds in zip(args.models, times, strict=True):
        print(f"{path.name:<{width}}  {milliseconds:8.3f} ms  {milliseconds / times[0]:5.2f}x")


if __name__ == "__main__":
    main()
