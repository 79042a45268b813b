"""The metrics of points that a search has measured so far, in a journal from which an interrupted run goes on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from amct_lite.accuracy.evaluation import Metric
from amct_lite.journal import LineJournal

Picks = Mapping[str, str]


class PointJournal:
    """The metrics at `path`, by the widths of all layers, None for the float model; nothing is kept where `path` is None.

    key: a digest of everything that a metric depends on.
    """

    def __init__(self, path: Path | None, key: str) -> None:
        self.losses = path.with_name(f"{path.name}.losses") if path is not None else None
        """Where the losses of single layers are kept."""
        self._lines = LineJournal(path, key)
        self._known: dict[str, Metric] = {}
        for entry in self._lines.entries:
            metric = entry.get("metric")
            if isinstance(metric, int | float | list):
                found = tuple(map(float, metric)) if isinstance(metric, list) else float(metric)
                self._known[_key(entry.get("widths"))] = found

    def find(self, picks: Picks | None) -> Metric | None:
        """The metric of the model with these widths, if it is known."""
        return self._known.get(_key(picks))

    def add(self, picks: Picks | None, metric: Metric) -> None:
        """Keep a metric; it is on disk when this returns. Raises ExportError when it cannot be written."""
        self._known[_key(picks)] = metric
        self._lines.add([{"widths": None if picks is None else dict(picks), "metric": metric}])

    def remove(self) -> None:
        """The run has come to its end: a later one measures anew."""
        self._lines.remove()
        if self.losses is not None:
            self.losses.unlink(missing_ok=True)


def _key(picks: Picks | None) -> str:
    return json.dumps(picks if picks is None else dict(picks), sort_keys=True)
