"""Ways to write one layer for ONNX Runtime's integer kernels, timed side by side: what `--target ort` chooses between.

    python tools/bench/kernels.py CASE [--threads 2] [--rounds 9]

The cases are those of kernel_cases.py, pointwise_cases.py and token_cases.py; times as in latency.py, in processes of their own
that take turns.
Needs numpy, onnx and onnxruntime.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import kernel_cases
import onnx
import pointwise_cases
import token_cases
from latency import measure

CASES = {**kernel_cases.CASES, **pointwise_cases.CASES, **token_cases.CASES}


def main() -> None:
    told = "\n".join(str(cases.__doc__) for cases in (kernel_cases, pointwise_cases, token_cases))
    parser = argparse.ArgumentParser(description=__doc__, epilog=told, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", choices=CASES)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    build, sizes = CASES[args.case]
    for size in sizes:
        models = build(*size)
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder) / f"{number}.onnx" for number in range(len(models))]
            for path, model in zip(paths, models.values(), strict=True):
                onnx.save(model, path)
            times = measure(paths, threads=args.threads, rounds=args.rounds, seconds=0.2, sample=None)
        shares = [f"{way} {ms / times[0]:.2f}" for way, ms in list(zip(models, times, strict=True))[1:]]
        print(f"{args.case} {size}: {next(iter(models))} {times[0]:.3f} ms;", ", ".join(shares), flush=True)


if __name__ == "__main__":
    main()
