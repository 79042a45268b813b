"""Independent pieces of work, done by other processes or machines through a `concurrent.futures.Executor`.

What a piece is and what it needs is the caller's business; here pieces go out, those of lost workers go out again, and results
come back in the order of the pieces. Nothing is scheduled here: the executor does that.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from amct_lite import scratch
from amct_lite.errors import ConfigError, WorkersError

if TYPE_CHECKING:
    from concurrent.futures import ProcessPoolExecutor

State = TypeVar("State")
Item = TypeVar("Item")
Result = TypeVar("Result")

_USUAL_COUNT = 4
LOSSES = 3
"""So often a piece may lose its worker before it is given up."""


def cores() -> int:
    """Those this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Workers:
    """An executor with what is known of it; a context, at whose end `close` is called.

    count: pieces that run at the same time. threads: of ONNX Runtime, for each of them. same_files: whether they see the files
    that this process sees.
    """

    same_files = False
    folder: Path | None = None
    """Where workers leave large results, None for with the executor."""

    def __init__(self, executor: Executor, *, count: int = _USUAL_COUNT, threads: int = 1) -> None:
        if count < 1:
            raise ConfigError(f"the number of workers is {count}, it must be at least 1.")
        self.executor = executor
        self.count = count
        self.threads = threads
        self.lost = 0
        """How often a worker was lost, and its work done again."""
        self.handed_out = ""
        """The digest of the payload that went out last: who has it needs it no second time."""

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.abandon()
        self.close()

    def abandon(self) -> None:
        """Nobody waits for what is under way any more."""

    def close(self) -> None:
        """An executor that was handed in stays open: it belongs to somebody else."""

    def carried(self, payload: bytes) -> object:
        """What to pass to `submit` so that the function gets `payload`."""
        return payload

    def is_lost(self, error: BaseException) -> bool:
        """Whether `error` says that the worker is gone, and nothing of the work itself."""
        return isinstance(error, BrokenExecutor | CancelledError | ConnectionError)

    def mend(self, error: BaseException) -> None:
        """Make the executor take work again after a loss. Raises WorkersError where only its owner can do that."""
        if isinstance(error, BrokenExecutor):
            raise WorkersError(f"the executor {type(self.executor).__name__} is broken ({error}). Open a new one.") from error


class LocalProcesses(Workers):
    """`count` processes on this machine, which share its cores."""

    same_files = True
    executor: ProcessPoolExecutor

    def __init__(self, count: int) -> None:
        super().__init__(_pool(max(count, 1)), count=count, threads=max(1, cores() // max(count, 1)))
        self._stay = ExitStack()
        self.folder = self._stay.enter_context(scratch.folder())

    def abandon(self) -> None:
        # As ProcessPoolExecutor.terminate_workers does it, which Python has from 3.14 on.
        for process in tuple((self.executor._processes or {}).values()):
            process.terminate()

    def close(self) -> None:
        self.executor.shutdown(wait=True, cancel_futures=True)
        self._stay.close()

    def mend(self, error: BaseException) -> None:
        if isinstance(error, BrokenExecutor):
            self.executor.shutdown(wait=True, cancel_futures=True)
            self.executor = _pool(self.count)


def as_workers(given: Workers | Executor | None) -> Workers | None:
    """An executor alone gets as many pieces at a time as it has workers, where it tells, and 4 else, with one thread of ONNX
    Runtime each; it stays open.

    Raises ConfigError for what is neither.
    """
    if given is None or isinstance(given, Workers):
        return given
    if not isinstance(given, Executor):
        raise ConfigError(
            f"workers = {given!r} is neither Workers nor a concurrent.futures.Executor. For processes of this machine give "
            "amct_lite.workers.LocalProcesses(N)."
        )
    return Workers(given, count=getattr(given, "_max_workers", None) or _USUAL_COUNT)


class GivenWorkers:
    """A field of a dataclass that takes what `as_workers` takes, and holds what that gives; None unless given."""

    def __get__(self, holder: object | None, _: type | None = None) -> Workers | None:
        found: Workers | None = None if holder is None else vars(holder)["workers"]
        return found

    def __set__(self, holder: object, given: Workers | Executor | None) -> None:
        vars(holder)["workers"] = as_workers(given)


def require_picklable(thing: object, what: str) -> None:
    """Raises ConfigError, which calls it `what`, for something of the user's that cannot be sent to a worker."""
    try:
        pickle.dumps(thing)
    except Exception as error:  # whatever its own __reduce__ raises, too
        raise ConfigError(
            f"{what} {getattr(thing, '__name__', type(thing).__name__)} cannot be sent to workers ({error}). Define it at the "
            "top of a module that they can import, or go without workers."
        ) from error


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
            piece.future.cancel()


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
        return found.taken() if isinstance(found, _Stored) else found


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
            return self._workers.executor.submit(_work, *arguments)
        except BrokenExecutor as error:
            self._mend(error)
            return self._workers.executor.submit(_work, *arguments)

    def finish_first(self, waiting: deque[_Piece]) -> None:
        """Returns when the first piece has its result; the others are taken care of meanwhile. Raises its error."""
        while not waiting[0].settled:
            self._settle(self._done.get())
        if (error := waiting[0].error) is not None:
            raise error

    def _settle(self, piece: _Piece) -> None:
        error = CancelledError() if piece.future.cancelled() else piece.future.exception()
        if error is None and isinstance(piece.future.result(), _Lacking):
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


class _Lacking:
    """The answer of a worker that has not got the payload yet."""


_HELD: dict[str, Any] = {}
"""In a worker: what was built from the payload of this digest; one at a time."""
_BUILDING = threading.Lock()


def _work(
    build: Callable[[bytes], Any],
    run: Callable[[Any, Any], Any],
    digest: str,
    payload: bytes | None,
    item: Any,
    folder: Path | None,
) -> Any:
    with _BUILDING:
        if digest not in _HELD:
            if payload is None:
                return _Lacking()
            _HELD.clear()
            _HELD[digest] = build(payload)
        state = _HELD[digest]
    result = run(state, item)
    return result if folder is None else _stored(result, folder)


_MOST_IN_A_PIPE = 2048
"""Bytes of a result that is sent as it is. So few are written at once or not at all: of a worker that is killed while it writes
more than a pipe takes at once, the executor would wait for the rest for ever."""


@dataclass(frozen=True)
class _Stored:
    """A result in a file."""

    path: Path

    def taken(self) -> Any:
        """The result; the file is gone then."""
        content = self.path.read_bytes()
        self.path.unlink()
        return pickle.loads(content)


def _stored(result: Any, folder: Path) -> Any:
    content = pickle.dumps(result, protocol=5)
    if len(content) <= _MOST_IN_A_PIPE:
        return result
    path = folder / os.urandom(16).hex()
    try:
        path.write_bytes(content)
    except OSError as error:
        raise WorkersError(
            f"a worker cannot write its result of {len(content) / 1e6:.0f} MB to {folder} ({error.strerror}). Make room there, "
            "or let TMPDIR name a folder on a larger disk."
        ) from error
    return _Stored(path)


def _pool(count: int) -> ProcessPoolExecutor:
    import multiprocessing  # here, as runs in one process need none of this
    from concurrent.futures import ProcessPoolExecutor

    # Started afresh: a fork of a process in which ONNX Runtime has threads can hang.
    return ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn"), initializer=_begin)


def _begin() -> None:
    """Ctrl-C is for the process that gives out the work; when that is gone, so is its worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    import multiprocessing

    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
