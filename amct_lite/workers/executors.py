"""Who does the work: an executor, whose processes may be lost."""

from __future__ import annotations

import os
import pickle
import signal
import threading
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from amct_lite import scratch
from amct_lite.errors import ConfigError, WorkersError

if TYPE_CHECKING:
    from concurrent.futures import ProcessPoolExecutor

_USUAL_COUNT = 4


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

    def submit(self, function: Callable[..., Any], *arguments: object) -> Future[Any]:
        return self.executor.submit(function, *arguments)

    def drop(self, future: Future[Any]) -> None:
        """Nobody waits for `future` any more; it need not run."""
        future.cancel()

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

    def submit(self, function: Callable[..., Any], *arguments: object) -> Future[Any]:
        from amct_lite.workers.starting import interrupted_later

        with interrupted_later():  # the first call starts the processes
            return super().submit(function, *arguments)

    def drop(self, future: Future[Any]) -> None:
        # Nearly all that is under way lies with the processes already. And what is cancelled when these end would be an error
        # in the executor's own thread, behind which Python 3.11 waits for ever.
        pass

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


def _pool(count: int) -> ProcessPoolExecutor:
    from concurrent.futures import ProcessPoolExecutor  # here, as runs in one process need none of this

    from amct_lite.workers.starting import ShieldedContext

    return ProcessPoolExecutor(count, mp_context=ShieldedContext(), initializer=_begin)


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
