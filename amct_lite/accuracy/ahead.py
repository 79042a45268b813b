"""The user's metric, evaluated by workers: beside the model that is asked for, those that are likely asked for next.

A metric that nobody asks for in the end is not told of; an evaluator's error is raised when its model is asked for. So what a
search sees is what it would see in one process.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from pathlib import Path

from amct_lite import ir, scratch
from amct_lite.accuracy.evaluation import Evaluator, Metric, Referee
from amct_lite.errors import AmctError
from amct_lite.workers import Task, Workers, map_shards, require_picklable


@dataclass(frozen=True)
class Candidate:
    """A model to be evaluated. what: how to call it in a message. write: gives its file, made in the folder that it gets
    unless it is there already."""

    key: Hashable
    what: str
    write: Callable[[Path], Path]


@dataclass(frozen=True)
class _Sent:
    """content: of the file at `path`; None where the worker reads it there itself."""

    path: Path
    content: bytes | None
    what: str


class Ahead:
    """Raises ConfigError for an evaluator that cannot be sent to `workers`."""

    def __init__(self, evaluator: Evaluator, workers: Workers) -> None:
        require_picklable(evaluator, "the evaluator")
        self._task: Task[Referee, _Sent, Metric | AmctError] = Task(pickle.dumps(evaluator), _referee, _measure)
        self._workers = workers
        self._found: dict[Hashable, Metric | AmctError] = {}

    @property
    def count(self) -> int:
        """How many models are evaluated at a time."""
        return self._workers.count

    def metric(self, wanted: Candidate, later: Iterable[Candidate]) -> Metric:
        """Of `wanted`. later: what may be asked for next. Raises what is wrong with the evaluator on it."""
        if wanted.key not in self._found:
            new = {wanted.key: wanted, **{other.key: other for other in later if other.key not in self._found}}
            chosen = list(new.values())[: self.count]
            with scratch.folder() as folder:
                here = self._workers.same_files
                sent = (_sent(candidate, folder / str(number), here=here) for number, candidate in enumerate(chosen))
                for candidate, (_, answer) in zip(chosen, map_shards(self._workers, self._task, sent), strict=True):
                    self._found[candidate.key] = answer
        found = self._found[wanted.key]
        if isinstance(found, AmctError):
            raise found
        return found


def _sent(candidate: Candidate, folder: Path, *, here: bool) -> _Sent:
    """A model made for this goes along, unless the worker is here, or its weights are so large that they lie beside it."""
    folder.mkdir()
    path = candidate.write(folder)
    goes_along = not here and list(folder.iterdir()) == [path]
    return _Sent(path, path.read_bytes() if goes_along else None, candidate.what)


def _referee(payload: bytes) -> Referee:
    return Referee(pickle.loads(payload))


def _measure(referee: Referee, sent: _Sent) -> Metric | AmctError:
    try:
        if sent.content is None:
            ir.require_seen(sent.path)
            return referee.measure(sent.path, sent.what)
        with scratch.folder() as folder:
            path = folder / sent.path.name
            path.write_bytes(sent.content)
            return referee.measure(path, sent.what)
    except AmctError as error:
        return error
