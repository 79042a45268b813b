"""What was evaluated, on disk as soon as it is known, so that an interrupted run goes on where it stopped.

One JSON object a line: first the key of what is searched, then a metric for each candidate. A line that was cut off by the
interruption does not count. A journal of another key is replaced: its metrics say nothing here.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection
from pathlib import Path

from amct_lite import ir
from amct_lite.accuracy.evaluation import Metric, Referee
from amct_lite.errors import ExportError
from amct_lite.files import staged_outputs
from amct_lite.record import record_digest
from amct_lite.search.trials import Layers
from amct_lite.types import QuantRecord

FORMAT = 1


class Journal:
    """The metrics at `path`, None for the float model; nothing is kept where `path` is None.

    key: a digest of everything that a metric depends on.
    """

    def __init__(self, path: Path | None, key: str) -> None:
        self._path = path
        self._known: dict[Layers | None, Metric] = {}
        if path is not None:
            header = {"format": FORMAT, "key": key}
            self._known = _read(path, header)
            text = [json.dumps(header), *(_line(layers, metric) for layers, metric in self._known.items())]
            with staged_outputs() as out:
                out.stage(path).write_text("".join(f"{line}\n" for line in text), encoding="utf-8")

    def __len__(self) -> int:
        return len(self._known)

    def find(self, layers: Layers | None) -> Metric | None:
        """The metric with these layers in float, if it is known."""
        return self._known.get(layers)

    def add(self, layers: Layers | None, metric: Metric) -> None:
        """Keep a metric; it is on disk when this returns. Raises ExportError when it cannot be written."""
        self._known[layers] = metric
        if self._path is None:
            return
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(f"{_line(layers, metric)}\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise ExportError(f"cannot write the journal {self._path}: {error.strerror}. Choose another place.") from error

    def remove(self) -> None:
        """The run has come to its end: a later one measures anew."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)


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


def _line(layers: Collection[str] | None, metric: Metric) -> str:
    return json.dumps({"in_float": None if layers is None else sorted(layers), "metric": metric})


def _read(path: Path, header: dict[str, object]) -> dict[Layers | None, Metric]:
    """The metrics of a journal with this header; none where there is no such journal."""
    try:
        first, *lines = path.read_text(encoding="utf-8").split("\n")[:-1] or [""]
    except (OSError, UnicodeDecodeError):
        return {}
    known: dict[Layers | None, Metric] = {}
    if _parsed(first) != header:
        return known
    for line in lines:
        entry = _parsed(line)
        layers, metric = entry.get("in_float"), entry.get("metric")
        if isinstance(metric, int | float | list):
            key = None if layers is None else frozenset(map(str, layers))  # type: ignore[call-overload]  # a list
            known[key] = tuple(map(float, metric)) if isinstance(metric, list) else float(metric)
    return known


def _parsed(line: str) -> dict[str, object]:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
