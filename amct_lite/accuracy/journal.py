"""The metrics that a search has measured so far, in a journal from which an interrupted run goes on."""

from __future__ import annotations

import hashlib
from pathlib import Path

from amct_lite import ir
from amct_lite.accuracy.evaluation import Metric, Referee
from amct_lite.journal import LineJournal
from amct_lite.record import record_digest
from amct_lite.search.trials import Layers
from amct_lite.types import QuantRecord


class Journal:
    """The metrics at `path`, None for the float model; nothing is kept where `path` is None.

    key: a digest of everything that a metric depends on.
    """

    def __init__(self, path: Path | None, key: str) -> None:
        self._lines = LineJournal(path, key)
        self._known: dict[Layers | None, Metric] = {}
        for entry in self._lines.entries:
            layers, metric = entry.get("in_float"), entry.get("metric")
            if isinstance(metric, int | float | list):
                known = None if layers is None else frozenset(map(str, layers))
                self._known[known] = tuple(map(float, metric)) if isinstance(metric, list) else float(metric)

    def __len__(self) -> int:
        return len(self._known)

    def find(self, layers: Layers | None) -> Metric | None:
        """The metric with these layers in float, if it is known."""
        return self._known.get(layers)

    def add(self, layers: Layers | None, metric: Metric) -> None:
        """Keep a metric; it is on disk when this returns. Raises ExportError when it cannot be written."""
        self._known[layers] = metric
        self._lines.add([{"in_float": None if layers is None else sorted(layers), "metric": metric}])

    def remove(self) -> None:
        """The run has come to its end: a later one measures anew."""
        self._lines.remove()


def journal_key(prepared: ir.Model, record: QuantRecord, bias_correction: str, referee: Referee) -> str:
    """A digest of what a metric depends on: model, scales, biases, and the evaluator's own file. What that file reads or
    imports is not looked at."""
    source = referee.source
    parts = (
        ir.checksum(prepared),
        record_digest(record),
        bias_correction,
        hashlib.sha256(source.read_bytes()).hexdigest() if source.is_file() else str(source),
    )
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
