"""The metrics that a search has measured so far, in a journal from which an interrupted run goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from amct_lite import ir
from amct_lite.accuracy.evaluation import Metric, Referee
from amct_lite.journal import Journal
from amct_lite.search.trials import Layers

Described = Layers | Mapping[str, str] | None
"""A model: its layers in float, or the widths of its layers; None: the float model itself."""


class MetricJournal:
    """The metrics at `path`; nothing is kept on disk where it is None.

    key: a digest of everything that a metric depends on. field: what the description of a model is called in the file. tell:
    what becomes of the metrics of an interrupted run.
    """

    def __init__(self, path: Path | None, key: str, field: str, tell: Callable[[str], None]) -> None:
        self._journal = Journal(path, key)
        self._field = field
        self._known: dict[str, Metric] = {}
        for entry in self._journal.entries:
            metric = entry.get("metric")
            if isinstance(metric, int | float | list):
                known = tuple(map(float, metric)) if isinstance(metric, list) else float(metric)
                self._known[_text(entry.get(field))] = known
        if self._known:
            tell(f"{path} is of an interrupted run like this: what it knows is not measured again. Delete it to begin anew.")
        elif self._journal.replaced:
            tell(
                f"{path} was of an interrupted run with another model, other scales or another evaluator: this one begins anew."
            )

    def find(self, model: Described) -> Metric | None:
        """The metric of this model, if it is known."""
        return self._known.get(_text(_plain(model)))

    def add(self, model: Described, metric: Metric) -> None:
        """Keep a metric; it is on disk when this returns. Raises ExportError when it cannot be written."""
        self._known[_text(_plain(model))] = metric
        self._journal.add([{self._field: _plain(model), "metric": metric}])

    def remove(self) -> None:
        """The run has come to its end: a later one measures anew."""
        self._journal.remove()


def journal_key(prepared: ir.Model, decided: Iterable[str], referee: Referee | None) -> str:
    """A digest of what a metric depends on: the model, what was decided about it (scales, biases), the evaluator's own file.
    What that file reads or imports is not looked at."""
    source = referee.source if referee else None
    evaluator = hashlib.sha256(source.read_bytes()).hexdigest() if source and source.is_file() else str(source)
    return hashlib.sha256("\n".join((ir.checksum(prepared), *decided, evaluator)).encode()).hexdigest()


def _plain(model: Described) -> list[str] | dict[str, str] | None:
    """As JSON has it."""
    if model is None:
        return None
    return sorted(model) if isinstance(model, frozenset) else dict(model)


def _text(plain: object) -> str:
    return json.dumps(plain, sort_keys=True)
