"""Fills a record run by run, from whoever runs the calibration model.

The state between two runs is one file beside the record (`<record>.calibration.npz`): a process may end after any run and
another one go on. It is replaced as a whole, together with the record when that is complete. Where something is learned later,
the samples are kept as well (`kept_samples`).
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from amct_lite.balance.factors import activation_max
from amct_lite.calibration import store
from amct_lite.calibration.gather import Gatherer
from amct_lite.calibration.store import Statistics
from amct_lite.compat.job import Watch
from amct_lite.compat.kept_samples import next_sample, to_bytes
from amct_lite.compat.partial_record import completed, format_factors
from amct_lite.decide import activation_qparams
from amct_lite.errors import CalibrationError, RecordError
from amct_lite.files import staged_outputs
from amct_lite.numerics.balance import balance_factors
from amct_lite.types import AnyArray, Feeds, QParams

_LOG = logging.getLogger(__name__)
Shapes = dict[str, tuple[int, ...]]


def state_path(record: str | os.PathLike[str]) -> Path:
    """Where the statistics are kept until the record is complete, and after."""
    path = Path(record)
    return path.with_name(f"{path.name}.calibration.npz")


def runs_for(record: str | os.PathLike[str]) -> int:
    """How many runs have been taken in so far, whoever made them."""
    path = state_path(record)
    return store.load(path).runs if path.is_file() else 0


class Collector:
    """Takes the statistics of one run after the other; safe to call from several threads.

    What is on disk decides: the copy in memory serves only while the file is the one that was written last.
    """

    def __init__(self, watches: Sequence[Watch]) -> None:
        self._watches = tuple(watches)
        self._batch_num = watches[0].batch_num
        self._record = Path(watches[0].record)
        self._state = state_path(self._record)
        self._known: Statistics | None = None
        self._stamp: tuple[int, ...] | None = None
        self._lock = threading.Lock()

    @property
    def runs(self) -> int:
        """How many runs have been taken in so far, by anybody."""
        return self._current().runs

    @property
    def done(self) -> bool:
        """Whether further runs change nothing."""
        return self.runs >= self._batch_num

    def add(self, results: Sequence[AnyArray], samples: int, shapes: Shapes, feeds: Feeds) -> None:
        """The outputs of all bypass nodes for one run on `samples` samples, whose inputs had `shapes`. feeds: the inputs
        themselves; empty where no samples are kept.

        Raises CalibrationError that names tensor and sample for NaN and infinite values; that run then does not count.
        """
        with self._lock:
            known = self._current()
            if known.runs >= self._batch_num:
                return
            self._known = None  # its sketches change now; a failure must not leave half a run behind
            taps = tuple(watch.tap for watch in self._watches)
            with Gatherer(taps, onto=known.sketches or None, samples=known.samples) as gatherer:
                gatherer.add(results, samples)
            known = known.with_shapes(shapes)
            sample = next_sample(self._record, known.runs) if self._watches[0].keeps_samples else None
            known = replace(known, sketches=gatherer.sketches, samples=gatherer.samples, runs=known.runs + 1)
            self._keep(known, {sample: to_bytes(feeds)} if sample else {})

    def _keep(self, statistics: Statistics, sample: Mapping[Path, bytes]) -> None:
        with staged_outputs() as out:
            for path, content in sample.items():
                out.stage(path).write_bytes(content)
            out.stage(self._state).write_bytes(store.to_bytes(statistics))
            if self._watches[0].balances:  # the factors hold after each run, better ones after more
                out.stage(self._record).write_text(format_factors(self._factors(statistics)), encoding="utf-8")
            elif statistics.runs == self._batch_num:
                text = completed(self._read_record(), self._record, self._decided(statistics))
                out.stage(self._record).write_text(text, encoding="utf-8")
        self._known, self._stamp = statistics, _stamp(self._state)

    def _read_record(self) -> str:
        try:
            return self._record.read_text(encoding="utf-8")
        except OSError as error:
            raise RecordError(
                f"the record {self._record} cannot be read ({error.strerror}). It must stay where quantize_model wrote it."
            ) from error

    def _decided(self, statistics: Statistics) -> dict[tuple[str, int], QParams]:
        """AMCT's factors rest on all data, wild samples included; those are named."""
        for key, sketch in statistics.sketches.items():
            for wild in sketch.robust()[1]:
                _LOG.warning(
                    "tensor %s: sample %d reaches %.4g, the others about %.4g; it widens the range of all.",
                    *(key[0], wild.sample, wild.magnitude, wild.typical),
                )
        return {
            reader.entry: activation_qparams(watch.plan_of(reader), statistics.sketches)
            for watch in self._watches
            for reader in watch.readers
        }

    def _factors(self, statistics: Statistics) -> dict[str, tuple[float, ...]]:
        """Of each layer to balance, from all data so far."""
        found: dict[str, tuple[float, ...]] = {}
        for watch in self._watches:
            seen = activation_max(statistics.sketches[watch.tap.tensor, watch.tap.channel_axis])
            for reader in watch.readers:
                weight_max = np.array(reader.weight_max, dtype=np.float32)
                found[reader.layer] = tuple(balance_factors(seen, weight_max, reader.strength).tolist())
        return found

    def _current(self) -> Statistics:
        stamp = _stamp(self._state)
        if self._known is None or stamp != self._stamp:
            self._known, self._stamp = self._load(), stamp
        return self._known

    def _load(self) -> Statistics:
        model, task = self._watches[0].model, self._watches[0].task
        if not self._state.is_file():
            told = "the user's own runs"
            return Statistics({}, 0, model, {}, data=told, trusted=True, bias_correction="none", task=task)
        known = store.load(self._state)
        wanted = {(watch.tap.tensor, watch.tap.channel_axis) for watch in self._watches}
        if (known.model, known.task) != (model, task) or (known.sketches and set(known.sketches) != wanted):
            raise CalibrationError(
                f"{self._state} was collected with another calibration model than this one, for the same record. "
                "Call quantize_model again, and use the model it writes."
            )
        return known


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
