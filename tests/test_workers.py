"""Pieces of work go out through an executor; whatever happens to workers, results come back once each, in order."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any

import pytest

from amct_lite.errors import ConfigError, DataError, WorkersError
from amct_lite.running import RunOptions
from amct_lite.workers import LocalProcesses, Task, Workers, as_workers, at_work, map_shards, shards


def text(payload: bytes) -> str:
    return payload.decode()


def joined(state: str, item: int) -> str:
    return f"{state}{item}"


def slower_at_first(state: str, item: int) -> str:
    time.sleep(0.2 if item == 0 else 0.0)
    return f"{state}{item}"


def wrong_at_3(state: str, item: int) -> str:
    if item == 3:
        raise DataError("item 3 is wrong")
    return f"{state}{item}"


def killed_once(mark: str, item: int) -> int:
    """The worker dies over item 4, but only the first time."""
    if item == 4 and not Path(mark).exists():
        Path(mark).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return item * item


def until_ctrl_c() -> Iterator[int]:
    """Of the terminal, for all that was started from there, while Python is loaded in the workers; here a moment later."""
    yield from range(10)
    time.sleep(0.1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.killpg(os.getpgid(0), signal.SIGINT)
    time.sleep(0.4)
    raise KeyboardInterrupt


def always_killed(_state: str, item: int) -> int:
    if item == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def asleep(_state: str, item: float) -> float:
    time.sleep(item)
    return item


@pytest.fixture
def threads() -> Iterator[Workers]:
    at_work._HELD.clear()
    with ThreadPoolExecutor(2) as pool:
        yield Workers(pool, count=2)


def test_results_come_in_the_order_of_the_items(threads: Workers) -> None:
    found = list(map_shards(threads, Task(b"n", text, slower_at_first), range(7)))
    assert found == [(number, f"n{number}") for number in range(7)]


def test_items_are_taken_as_they_are_needed(threads: Workers) -> None:
    taken: list[int] = []
    results = map_shards(threads, Task(b"n", text, joined), (taken.append(number) or number for number in range(100)))
    assert next(results) == (0, "n0")
    assert len(taken) <= 2 * threads.count


def test_an_error_comes_after_the_results_before_it(threads: Workers) -> None:
    results = map_shards(threads, Task(b"n", text, wrong_at_3), range(9))
    assert [next(results)[0] for _ in range(3)] == [0, 1, 2]
    with pytest.raises(DataError, match="item 3 is wrong"):
        next(results)


class Told(Executor):
    """Does the work at once, with a worker process of its own pretended for each submission; notes who got the payload."""

    def __init__(self, lost: set[int] = frozenset()) -> None:  # type: ignore[assignment]
        self.payloads: list[bool] = []
        self._lost = lost

    def submit(self, function: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.payloads.append(args[3] is not None)
        if len(self.payloads) in self._lost:
            future.cancel()
            future.set_running_or_notify_cancel()
        else:
            future.set_result(function(*args, **kwargs))
        return future


def test_the_payload_goes_once_to_each_worker_and_again_to_whoever_lacks_it() -> None:
    at_work._HELD.clear()
    executor = Told()
    results = map_shards(Workers(executor, count=2), Task(b"n", text, joined), range(8))
    found = [next(results) for _ in range(4)]
    at_work._HELD.clear()  # as if the next piece met a worker that came later
    found += list(results)
    assert found == [(number, f"n{number}") for number in range(8)]
    assert executor.payloads.count(True) <= 2 + 1
    assert executor.payloads[:2] == [True, True]


def test_a_payload_that_went_out_last_does_not_go_again() -> None:
    at_work._HELD.clear()
    executor = Told()
    workers = Workers(executor, count=2)
    for payload, sent in ((b"n", 2), (b"n", 0), (b"m", 2), (b"n", 2)):
        executor.payloads.clear()
        assert dict(map_shards(workers, Task(payload, text, joined), range(4)))[3] == f"{payload.decode()}3"
        assert executor.payloads.count(True) == sent


def test_work_on_results_of_the_same_payload_brings_it_no_second_time() -> None:
    at_work._HELD.clear()
    executor = Told()
    workers = Workers(executor, count=2)
    first = (result for _, result in map_shards(workers, Task(b"n", text, joined), range(8)))
    second = map_shards(workers, Task(b"n", text, joined), first)  # type: ignore[arg-type]  # texts are joined as well
    assert [result for _, result in second] == [f"nn{number}" for number in range(8)]
    assert executor.payloads == [True, True] + [False] * 14


def test_no_more_pieces_are_under_way_than_were_asked_for(threads: Workers) -> None:
    taken: list[int] = []
    results = map_shards(threads, Task(b"n", text, joined), (taken.append(number) or number for number in range(9)), most=1)
    assert next(results) == (0, "n0")
    assert taken == [0]


def test_a_piece_whose_worker_was_lost_is_done_again() -> None:
    executor = Told(lost={2, 3, 5})
    found = list(map_shards(Workers(executor, count=1), Task(b"n", text, joined), range(6)))
    assert found == [(number, f"n{number}") for number in range(6)]
    assert len(executor.payloads) >= 6 + 3


def test_a_killed_process_is_replaced_and_its_pieces_run_again(tmp_path: Path) -> None:
    mark = tmp_path / "killed"
    with LocalProcesses(2) as local:
        found = list(map_shards(local, Task(str(mark).encode(), text, killed_once), range(12)))
    assert mark.exists()
    assert found == [(number, number * number) for number in range(12)]
    assert local.lost == 1


def test_a_loss_that_is_met_when_work_goes_out_counts_as_well() -> None:
    """Whether a result or the next piece meets the broken pool first is a matter of timing."""
    with LocalProcesses(1) as local:
        with pytest.raises(BrokenExecutor):
            local.executor.submit(os._exit, 1).result()
        found = list(map_shards(local, Task(b"n", text, joined), range(3)))
    assert found == [(number, f"n{number}") for number in range(3)]
    assert local.lost == 1


def large(_state: str, item: int) -> bytes:
    return bytes([item]) * (1 << 20)


def large_and_killed(mark: str, item: int) -> bytes:
    """One that dies has left results in files."""
    if item == 3 and not Path(mark).exists():
        Path(mark).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return bytes([item]) * (1 << 20)


def test_large_results_of_a_process_come_through_files_which_are_removed(tmp_path: Path) -> None:
    """A pipe takes 64 KiB at once: who is killed while it writes more leaves a message without an end."""
    with LocalProcesses(2) as local:
        folder = local.folder
        assert folder is not None
        future = local.executor.submit(at_work.work, text, large, "digest", b"", 1, folder)
        assert len(pickle.dumps(future.result())) < 500
        assert len(list(folder.iterdir())) == 1
        task = Task(str(tmp_path / "killed").encode(), text, large_and_killed)
        found = list(map_shards(local, task, range(6)))
        assert len(list(folder.iterdir())) <= 1 + 2  # what a worker left that died before it could tell
    assert found == [(item, bytes([item]) * (1 << 20)) for item in range(6)]
    assert not folder.exists()


def test_no_room_for_a_result_is_said_with_the_folder(tmp_path: Path) -> None:
    with pytest.raises(WorkersError, match=r"cannot write its result of 1 MB to .*missing.*TMPDIR"):
        at_work._stored(bytes(1 << 20), tmp_path / "missing")


def test_a_piece_that_kills_every_worker_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "LOSSES", 1)
    with LocalProcesses(1) as local:
        results = map_shards(local, Task(b"", text, always_killed), range(4))
        assert [next(results)[0], next(results)[0]] == [0, 1]
        with pytest.raises(WorkersError, match="2 workers were lost one after the other over the same piece of work"):
            next(results)


class Broken(Executor):
    def submit(self, function: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        raise BrokenExecutor("a process died")


def test_a_broken_executor_of_somebody_else_is_left_to_them() -> None:
    with pytest.raises(WorkersError, match=r"the executor Broken is broken \(a process died\)\. Open a new one"):
        next(map_shards(Workers(Broken(), count=1), Task(b"", text, joined), [1]))


def test_an_interruption_does_not_wait_for_what_is_under_way() -> None:
    def interrupted() -> None:
        with LocalProcesses(1) as local:
            results = map_shards(local, Task(b"", text, asleep), [0.0, 600.0])
            next(results)
            raise KeyboardInterrupt

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert time.monotonic() - started < 60, "the second piece takes ten minutes"


def test_an_executor_alone_is_taken_with_its_own_count() -> None:
    with ThreadPoolExecutor(3) as pool:
        taken = as_workers(pool)
        assert taken is not None
        assert (taken.executor, taken.count, taken.threads) == (pool, 3, 1)
        assert as_workers(taken) is taken
    assert as_workers(None) is None


def test_options_take_an_executor_and_hold_its_workers() -> None:
    with ThreadPoolExecutor(3) as pool:
        options = RunOptions(workers=pool)
        assert options.workers is not None
        assert options.workers.count == 3
        assert replace(options, batch_size=2).workers is options.workers
    assert RunOptions().workers is None
    with pytest.raises(FrozenInstanceError):
        options.workers = None  # type: ignore[misc]


def test_workers_that_are_none_are_an_error_that_says_what_to_give() -> None:
    with pytest.raises(ConfigError, match=r"workers = 2 is neither Workers nor .*Executor.*LocalProcesses\(N\)"):
        RunOptions(workers=2)  # type: ignore[arg-type]


@pytest.mark.parametrize(("allowed", "threads"), [({0, 1, 2, 3, 4}, 2), ({3}, 1)])
def test_local_processes_share_the_cores_that_this_one_may_use(
    allowed: set[int], threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: allowed, raising=False)
    with LocalProcesses(2) as local:
        assert local.threads == threads


def test_no_workers_at_all_is_an_error() -> None:
    with pytest.raises(ConfigError, match="the number of workers is 0, it must be at least 1"):
        LocalProcesses(0)


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="no process groups here")
def test_ctrl_c_while_workers_are_started_ends_them_without_a_word() -> None:
    script = """if True:
        from test_workers import LocalProcesses, Task, map_shards, text, until_ctrl_c
        if __name__ == "__main__":
            try:
                with LocalProcesses(2) as workers:
                    list(map_shards(workers, Task(bytes(1 << 24), text, len), until_ctrl_c(), most=100))
            except KeyboardInterrupt:
                print("interrupted")
    """
    process = subprocess.run(
        [sys.executable, "-c", script],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        timeout=60,
        start_new_session=True,
        check=False,
    )
    assert (process.returncode, process.stdout, process.stderr) == (0, "interrupted\n", "")


def test_pieces_that_nobody_waits_for_leave_an_executor_whose_processes_end_whole() -> None:
    """In Python 3.11 its own thread stumbles over what was cancelled, and the program waits for it when it ends."""
    with LocalProcesses(1) as workers:
        results = map_shards(workers, Task(b"", text, asleep), [0.0, *[60.0] * 20], most=20)
        assert next(results) == (0.0, 0.0)
        thread = workers.executor._executor_manager_thread
        results.close()
        workers.abandon()
        thread.join()  # an exception in it is a warning, which fails the test
