"""Calibrates networks that nobody wrote, for all targets, or converts them, and looks for whatever must not happen.

    python tools/fuzz/run.py --seeds 0:200                 # what failed, with its seed
    python tools/fuzz/run.py --seeds 17 --keep /tmp/17     # the same again, its files kept
    python tools/fuzz/run.py --seeds 17 --shrink           # and the smallest part of the network that still fails
    python tools/fuzz/run.py --seeds 0:200 --kind qdq      # networks that bring their scales

A kind of network is a file beside this one that offers `model(seed)`: a model and feeds, the last FRESH of which are not
calibrated with. What images and tokens are drawn from lies in a folder of its own each, and what both need in graph.py and
builder.py.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
from collections import Counter
from pathlib import Path

import checks
import converted
import onnx
from checks import TARGETS, Finding
from settings import settings

KINDS = {"images": checks, "tokens": checks, "qdq": converted}
"""And what is looked for in each."""


def main() -> int:
    asked = _arguments()
    drawn = importlib.import_module(asked.kind)
    counts: Counter[str] = Counter()
    for seed in asked.seeds:
        model, feeds = drawn.model(seed)

        def look(model: onnx.ModelProto, seed: int = seed, feeds: list = feeds) -> list[Finding]:
            configs = [settings(seed, model, target) for target in asked.targets]
            with tempfile.TemporaryDirectory() as place:
                return KINDS[asked.kind].findings(model, feeds, drawn.FRESH, configs, Path(asked.keep or place))

        found = look(model)
        counts.update({finding.check for finding in found})
        for finding in found:
            print(f"{asked.kind} {seed}: {finding}", flush=True)
        if found and asked.shrink:
            from shrink import shrink

            small = shrink(model, lambda candidate, kind=found[0].kind: kind in {f.kind for f in look(candidate)})
            print(onnx.printer.to_text(small))
            if asked.keep:
                onnx.save(small, Path(asked.keep) / "small.onnx")
    print(f"{len(asked.seeds)} networks; " + (", ".join(f"{n} × {check}" for check, n in counts.most_common()) or "all well"))
    return 1 if counts else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=_seeds, default=range(20), help="one, or FIRST:BEHIND_LAST")
    parser.add_argument("--kind", choices=KINDS, default="images")
    parser.add_argument("--targets", type=lambda text: text.split(","), default=TARGETS, help=f"of {','.join(TARGETS)}")
    parser.add_argument("--keep", metavar="FOLDER", help="keep the files of the last one here")
    parser.add_argument("--shrink", action="store_true", help="print the smallest network with the first finding")
    return parser.parse_args()


def _seeds(text: str) -> range:
    first, _, behind = text.partition(":")
    return range(int(first), int(behind) if behind else int(first) + 1)


if __name__ == "__main__":
    sys.exit(main())
