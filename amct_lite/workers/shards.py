"""Pieces go out, those of lost workers go out again, and results come back in the order of the pieces."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

from amct_lite.errors import WorkersError
from amct_lite.workers.at_work import Lacking, Stored, work
from amct_lite.workers.executors import Workers

State = TypeVar("State")
Item = TypeVar("Item")
Result = TypeVar("Result")

LOSSES = 3
"""So often a piece may lose its worker before it is given up."""


@dataclass(frozen=True)
class Task(Generic[State, Item, Result]):
    """build: payload → what all pieces of one worker share, made once there. run: that and a piece → its result.

    Both are functions of a module, so that they can be pickled.
    """

    payload: bytes
    build: Callable[[bytes], State]
    run: Callable[[State, Item], Result]


def map_shards(
    workers: Workers, task: Task[State, Item, Result], items: Iterable[Item], *, most: int | None = None
) -> Iterator[tuple[Item, Result]]:
    """Each item with its result, in the order of `items`, which are taken as they are needed.

    The payload travels to each worker once, also when several of these with the same payload take turns. A piece whose worker
    is lost is done again, at most LOSSES times; an exception of `task.run` is raised when the results before it have been
    handed out. most: pieces that are under way at a time, two for each worker unless told.
    Raises WorkersError for a piece that loses its worker again and again.
    """
    limit = 2 * workers.count if most is None else most
    shift = _Shift(workers, task)
    waiting: deque[_Piece] = deque()
    try:
        for item in items:
            waiting.append(shift.start(item))
            if len(waiting) >= limit:
                shift.finish_first(waiting)
                yield waiting[0].item, waiting.popleft().result()
        while waiting:
            shift.finish_first(waiting)
            yield waiting[0].item, waiting.popleft().result()
    finally:
        for piece in waiting:
            workers.drop(piece.future)


@dataclass
class _Piece:
    """future: of the last attempt, by the executor `executor`."""

    item: Any
    future: Future[Any]
    executor: Executor
    losses: int = 0
    settled: bool = False
    error: BaseException | None = None

    def result(self) -> Any:
        """Once only: what lies in a file is removed."""
        found = self.future.result()
        return found.taken() if isinstance(found, Stored) else found


class _Shift:
    """The pieces of one `map_shards` while they are under way."""

    def __init__(self, workers: Workers, task: Task[Any, Any, Any]) -> None:
        self._workers = workers
        self._task = task
        self._digest = hashlib.sha256(task.payload).hexdigest()
        self._to_bring = 0
        self._done: SimpleQueue[_Piece] = SimpleQueue()

    def start(self, item: Any) -> _Piece:
        """The first pieces bring the payload along; who gets another one without having it, says so."""
        if self._workers.handed_out != self._digest:
            self._workers.handed_out, self._to_bring = self._digest, self._workers.count
        piece = _Piece(item, self._submit(item, with_payload=self._to_bring > 0), self._workers.executor)
        self._to_bring -= 1
        self._watch(piece)
        return piece

    def _watch(self, piece: _Piece) -> None:
        # Told by the future itself: waiting for one of a thousand would ask all of them each time.
        piece.future.add_done_callback(lambda _future: self._done.put(piece))

    def _submit(self, item: Any, *, with_payload: bool) -> Future[Any]:
        payload = self._workers.carried(self._task.payload) if with_payload else None
        arguments: tuple[Any, ...] = (self._task.build, self._task.run, self._digest, payload, item, self._workers.folder)
        try:
            return self._workers.submit(work, *arguments)
        except BrokenExecutor as error:
            self._mend(error)
            return self._workers.submit(work, *arguments)

    def finish_first(self, waiting: deque[_Piece]) -> None:
        """Returns when the first piece has its result; the others are taken care of meanwhile. Raises its error."""
        while not waiting[0].settled:
            self._settle(self._done.get())
        if (error := waiting[0].error) is not None:
            raise error

    def _settle(self, piece: _Piece) -> None:
        error = CancelledError() if piece.future.cancelled() else piece.future.exception()
        if error is None and isinstance(piece.future.result(), Lacking):
            self._again(piece)
        elif error is None or not self._workers.is_lost(error):
            piece.settled, piece.error = True, error
        else:
            piece.losses += 1
            if piece.losses > LOSSES:
                raise WorkersError(
                    f"{piece.losses} workers were lost one after the other over the same piece of work ({error}). They may be "
                    "short of memory: take fewer of them, or smaller batches. In a script of your own, what starts the work "
                    'belongs under `if __name__ == "__main__":`.'
                ) from error
            if piece.executor is self._workers.executor:  # else it was mended already
                self._mend(error)
            self._again(piece)

    def _mend(self, error: BaseException) -> None:
        self._workers.lost += 1
        self._workers.mend(error)

    def _again(self, piece: _Piece) -> None:
        piece.future = self._submit(piece.item, with_payload=True)
        piece.executor = self._workers.executor
        self._watch(piece)
