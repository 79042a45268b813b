"""Exact and estimated sensitivity of models side by side: what each costs in plain inference passes, and how alike they rank.

    python tools/bench/sensitivity.py MODEL.onnx RECORD.txt DATA [MODEL RECORD DATA ...] [--candidates W8A8 ...] [--batches N]

Prints a row for each model: layers, seconds of one pass over the data by plain inference (session already open, batches as they
are), exact and estimate in such passes (record read and sessions opened within), exact without what its first batch costs over
the others (reading and opening), and Spearman's rank correlation of the damages for the first candidate. Seconds are of the
processor, the least of `--repeat` rounds in which all take turns, since a busy machine disturbs these less.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from process import format_table

from amct_lite.analysis.sensitivity import Sensitivities
from amct_lite.config import QuantConfig
from amct_lite.diagnosis.sensitivity import sensitivity
from amct_lite.recorded import take_record
from amct_lite.running import RunOptions, open_stream
from amct_lite.runtime import RuntimeOptions, open_session

FEW = 4
"""Batches, fewer than there are: what exact takes for them tells what opening takes."""


def timed(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def spearman(a: list[float], b: list[float]) -> float:
    """Of values without ties, which damages are: Pearson's correlation of the ranks."""
    ranks = [np.argsort(np.argsort(values)) for values in (a, b)]
    return float(np.corrcoef(*ranks)[0, 1])


def row(model: Path, record: Path, data: Path, args: argparse.Namespace) -> list[str]:
    options = RunOptions(RuntimeOptions(threads=args.threads))
    config = QuantConfig(target="generic", batches=args.batches)
    source = take_record(model, record, config).source
    stream = open_stream(source, str(data), config, options)
    assert stream is not None
    feeds = list(stream)
    session = open_session(source.prepared, options.runtime)
    session.run(feeds[0])
    found: dict[str, Sensitivities] = {}

    def measure(method: str, batches: int = len(feeds)) -> None:
        found[method] = sensitivity(
            *(model, record, feeds[:batches]),
            candidates=args.candidates,
            method=method,
            config=replace(config, batches=batches),
            options=options,
        )

    runs: dict[str, list[float]] = {"plain": [], "few": [], "exact": [], "estimate": []}
    for _ in range(args.repeat):
        runs["plain"].append(timed(lambda: [session.run(batch) for batch in feeds]))
        runs["few"].append(timed(lambda: measure("exact", FEW)))
        runs["exact"].append(timed(lambda: measure("exact")))
        runs["estimate"].append(timed(lambda: measure("estimate")))
    seconds = {name: min(values) for name, values in runs.items()}
    seconds["open"] = (seconds["exact"] - seconds["few"]) * len(feeds) / (len(feeds) - FEW)
    exact, estimate = (found[method].damages(args.candidates[0]) for method in ("exact", "estimate"))
    passes = [f"{seconds[method] / seconds['plain']:.1f}" for method in ("exact", "open", "estimate")]
    correlation = spearman(list(exact.values()), [estimate[name] for name in exact])
    return [model.name, str(len(exact)), f"{seconds['plain']:.3f}", *passes, f"{correlation:.3f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="MODEL RECORD DATA")
    parser.add_argument("--candidates", nargs="+", default=["W8A8"])
    parser.add_argument("--batches", type=int, default=32)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--threads", type=int, default=0)
    args = parser.parse_args()
    if len(args.runs) % 3:
        parser.error("give MODEL RECORD DATA, or several of them")
    rows = [row(*args.runs[start : start + 3], args) for start in range(0, len(args.runs), 3)]
    print(format_table(["model", "layers", "pass s", "exact", "opened", "estimate", "spearman"], rows))


if __name__ == "__main__":
    main()
