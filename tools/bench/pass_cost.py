"""The calibration pass against plain inference of the same images, alternating in one process; prints JSON.

    python tools/bench/pass_cost.py MODEL.onnx DATA_DIR [--repeat 3]

Both run the prepared model (BatchNormalization folded), from images held in memory, with the same session options; the pass
runs several images at a time, as it always does. The first image is left out of the clock: it pays for opening the session.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from amct_lite.calibration.data import open_data
from amct_lite.calibration.feeds import input_specs
from amct_lite.calibration.runner import collect
from amct_lite.config import QuantConfig
from amct_lite.loading import load_prepared
from amct_lite.plan import resolve
from amct_lite.runtime import open_session

Images = list[dict[str, np.ndarray]]


def read(data: Path) -> Images:
    images = []
    for file in sorted(data.glob("*.npz")):
        with np.load(file) as archive:
            images.append(dict(archive))
    return images


class Clock:
    """Called after each image; knows the seconds an image took, the first excepted."""

    def __init__(self) -> None:
        self.ticks: list[float] = []

    def __call__(self, _samples: int = 1) -> None:
        self.ticks.append(time.perf_counter())

    @property
    def seconds_an_image(self) -> float:
        return (self.ticks[-1] - self.ticks[0]) / (len(self.ticks) - 1)


def timed(run: Callable[[Clock], None]) -> float:
    clock = Clock()
    run(clock)
    return clock.seconds_an_image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--repeat", type=int, default=3)
    args = parser.parse_args()
    images = read(args.data)
    prepared = load_prepared(args.model).prepared
    plan = resolve(QuantConfig(), prepared)

    def inference(clock: Clock) -> None:
        session = open_session(prepared)
        for feeds in images:
            session.run(feeds)
            clock()

    def calibration(clock: Clock) -> None:
        collect(prepared, plan, open_data(images, input_specs(prepared)), progress=clock)

    plain, ours = [], []
    for _ in range(args.repeat):
        plain.append(timed(inference))
        ours.append(timed(calibration))
    print(json.dumps({"plain": plain, "calibration": ours, "images": len(images)}))


if __name__ == "__main__":
    main()
