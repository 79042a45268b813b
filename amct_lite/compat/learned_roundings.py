"""Roundings that a calibration model leaves to be learned: from the samples of its runs, before anything is saved."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence

from amct_lite import ir
from amct_lite.calibration import store
from amct_lite.calibration.runner import Calibration, keep
from amct_lite.calibration.store import Statistics
from amct_lite.compat.collector import state_path
from amct_lite.files import replace_file
from amct_lite.rounding.lesson import Lesson
from amct_lite.roundings import rounding_notes, settle_roundings
from amct_lite.runtime import RuntimeOptions
from amct_lite.types import Feeds, QuantRecord
from amct_lite.weights import Rounder

_LOG = logging.getLogger(__name__)


def learn_and_keep(
    record_file: str | os.PathLike[str],
    statistics: Statistics,
    prepared: ir.Model,
    record: QuantRecord,
    rounders: Mapping[str, Rounder],
    samples: Sequence[Feeds],
) -> Statistics:
    """`statistics` with the roundings that `rounders` (layer → its method) decide, as a calibration in one go has them. They
    replace what lies beside `record_file`; what was gained, and what stays rounded to nearest, is logged.

    prepared: the float model, balanced where `record` is of a balanced one. record: its layers are those of `prepared`.
    """
    if not rounders:
        return statistics
    known = {layer.key for layer in record.layers}
    wanted = {name: rounder for name, rounder in rounders.items() if name in known}
    count = f"{len(wanted)} {'layer' if len(wanted) == 1 else 'layers'}"
    _LOG.info("learning the rounding of %s from %d %s", count, len(samples), "batch" if len(samples) == 1 else "batches")
    feeds, outputs = keep(prepared, samples)  # as many as any other calibration keeps
    done = 0

    def tell(layers: int) -> None:
        nonlocal done
        done += layers
        _LOG.info("learned the rounding of %d of %s", done, count)

    lesson = Lesson(record, wanted, feeds, corrected=False, options=RuntimeOptions())
    settled, nearest = settle_roundings(Calibration(statistics, feeds, outputs), prepared, lesson, progress=tell)
    for layer, note in rounding_notes(settled.statistics).items():
        _LOG.info("%s: %s", layer, note)
    for skip in nearest:
        _LOG.info("%s (%s): %s", skip.node, skip.op_type, skip.reason)
    replace_file(state_path(record_file), store.to_bytes(settled.statistics))
    return settled.statistics
