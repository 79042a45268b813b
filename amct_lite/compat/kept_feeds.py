"""The samples of calibration runs, for whoever asks while they run: in memory, in this process, as many as a calibration keeps.

A run knows only the record that it fills, so that is what a caller and the runs have in common.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from amct_lite.calibration.observing import Kept
from amct_lite.types import Feeds

_ASKED: dict[str, Kept] = {}


@contextmanager
def keeping_feeds(record: str | os.PathLike[str]) -> Iterator[list[Feeds]]:
    """The samples of the runs for `record` inside of the block, in their order."""
    key = str(Path(record).resolve())
    kept = _ASKED[key] = Kept()
    try:
        yield kept.feeds
    finally:
        del _ASKED[key]


def offer(record: str, feeds: Feeds) -> None:
    """One sample of a run for `record`; copied when somebody wants it. record: absolute path."""
    kept = _ASKED.get(record)
    if kept is not None and kept.open:
        kept.add({name: np.array(array) for name, array in feeds.items()}, ())
