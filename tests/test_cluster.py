"""A Dask scheduler and two workers on this machine: the bytes of one process, also when a worker is killed in the middle."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from counted import PER_TENSOR, Fidelity, delicate
from small_nets import images, net, saved

import amct_lite
from amct_lite import cluster
from amct_lite.analysis.candidates import Scales
from amct_lite.analysis.sensitivity import measure_sensitivity
from amct_lite.config import QuantConfig
from amct_lite.errors import ConfigError
from amct_lite.pipeline import calibrate, quantize
from amct_lite.running import RunOptions
from amct_lite.runtime import RuntimeOptions
from amct_lite.workers import Task, Workers, map_shards

distributed = pytest.importorskip("distributed")
ONE = RuntimeOptions(threads=1)
QUIET = os.environ | {"PYTHONPATH": os.pathsep.join((str(Path(__file__).parent), *filter(None, sys.path)))}
SCHEDULER = "from distributed.cli.dask_scheduler import main; main()"
WORKER = "from distributed.cli.dask_worker import main; main()"


def start(code: str, *words: str, folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", code, *words]
    return subprocess.Popen(command, env=QUIET, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@contextmanager
def two_workers(folder: Path) -> Iterator[str]:
    """The address of a scheduler with two workers, which live in processes of their own and are not replaced when killed."""
    file = folder / "scheduler.json"
    local = ("--host", "127.0.0.1", "--no-dashboard")
    started = [start(SCHEDULER, *local, "--port", "0", "--scheduler-file", str(file), folder=folder)]
    worker = ("--scheduler-file", str(file), "--host", "127.0.0.1", "--nthreads", "1", "--no-nanny", "--no-dashboard")
    started += [start(WORKER, *worker, "--name", f"worker{number}", folder=folder) for number in range(2)]
    try:
        until = time.monotonic() + 60
        while not file.exists() or not file.read_bytes().endswith(b"}"):
            assert started[0].poll() is None
            assert time.monotonic() < until
            time.sleep(0.05)
        client = distributed.Client(scheduler_file=str(file), set_as_default=False)
        client.wait_for_workers(2, timeout=60)
        found = client.scheduler.address
        client.close()
        yield found
    finally:
        for process in started:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with two_workers(tmp_path_factory.mktemp("dask")) as found:
        yield found


class Deadly(Fidelity):
    """The quantized model that is evaluated next kills who evaluates it, once."""

    def __init__(self, model: Path, mark: Path) -> None:
        super().__init__(model)
        self._mark = mark

    def __call__(self, model_path: str) -> float:
        if "fake_quant" in model_path and not self._mark.exists():
            self._mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(model_path)


def process_and_square(mark: str, item: int) -> tuple[int, int]:
    """The worker that gets item 5 first dies over it."""
    if item == 5 and not Path(mark).exists():
        Path(mark).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.05)
    return os.getpid(), item * item


def text(payload: bytes) -> str:
    return payload.decode()


def files_of(model: Path, data: object, prefix: Path, workers: Workers | None = None) -> dict[str, bytes]:
    result = quantize(model, data, options=RunOptions(runtime=ONE, workers=workers))
    return {path.name: path.read_bytes() for path in result.save(prefix)}


def test_a_cluster_gives_the_files_of_one_process(address: str, tmp_path: Path) -> None:
    model = saved(net(), tmp_path)
    (tmp_path / "data").mkdir()
    for number, feeds in enumerate(images(20)):
        np.savez(tmp_path / "data" / f"{number:02}.npz", **feeds)
    for data in (tmp_path / "data", images(20)):
        with cluster.connect(address) as workers:
            assert workers.count == 2
            shared = files_of(model, data, tmp_path / "shared" / "m", workers)
        assert shared == files_of(model, data, tmp_path / "alone" / "m")


def test_an_executor_of_an_existing_client_is_taken(address: str, tmp_path: Path) -> None:
    model = saved(net(), tmp_path)
    with distributed.Client(address, set_as_default=False) as client:
        shared = files_of(model, images(8), tmp_path / "shared" / "m", Workers(client.get_executor(), count=2))
    assert shared == files_of(model, images(8), tmp_path / "alone" / "m")


def test_sensitivity_on_a_cluster_is_that_of_one_process(address: str, tmp_path: Path) -> None:
    found = calibrate(saved(net(), tmp_path), images(8))
    given = (found.source.prepared, Scales(found.decision.record, found.plan), images(20))
    with cluster.connect(address) as workers:
        shared = measure_sensitivity(*given, options=RunOptions(ONE, workers=workers))
    assert shared.to_json() == measure_sensitivity(*given, options=RunOptions(ONE)).to_json()


def test_searches_go_on_when_a_worker_of_their_cluster_is_killed(tmp_path: Path) -> None:
    """`autocalibrate` loses one of two workers, `search` runs on the other."""
    model, mark = delicate(tmp_path, conv2=20.0, conv4=20.0), tmp_path / "killed"

    def run(evaluate: Fidelity, workers: Workers | None, prefix: Path) -> dict[str, bytes]:
        options = RunOptions(runtime=ONE, workers=workers)
        left = amct_lite.autocalibrate(model, images(), evaluate, max_loss=25.0, config=PER_TENSOR, options=options)
        generic = QuantConfig(target="generic", per_channel="none")
        mixed = amct_lite.search_precision(
            *(model, images(), "bitops=2.1"),
            widths=("float32", "W8A8", "W4A8"),
            sensitivity="local",
            evaluate=evaluate,
            config=generic,
            options=options,
        )
        return {path.name: path.read_bytes() for path in (*left.save(f"{prefix}/left"), *mixed.save(f"{prefix}/mixed"))}

    with two_workers(tmp_path) as address, cluster.connect(address) as workers:
        shared = run(Deadly(model, mark), workers, tmp_path / "shared")
        assert mark.exists()
    assert shared == run(Fidelity(model), None, tmp_path / "alone")


def test_no_scheduler_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_SECONDS", 0.2)
    monkeypatch.setattr(cluster, "_PATIENCE", 0.05)
    told: list[str] = []
    with pytest.raises(ConfigError, match=r"no Dask scheduler can be reached at tcp://127\.0\.0\.1:1 .*Give its address"):
        cluster.connect("tcp://127.0.0.1:1", told.append)
    assert told == ["waiting for the Dask scheduler at tcp://127.0.0.1:1, 0.2 s at most"]


@pytest.mark.parametrize("address", ["nonsense", "host:8786", "tcp://host", "", "tcp://:8786x", "http://host:1"])
def test_what_is_no_address_is_refused_before_dask_sees_it(address: str) -> None:
    with pytest.raises(ConfigError, match=rf"'{address}' is not the address of a Dask scheduler\. Give it as tcp://HOST:8786"):
        cluster.connect(address)


@pytest.mark.parametrize(
    ("address", "settings", "told"),
    [
        (
            "tls://host:8786",
            {},
            r"tls://host:8786 needs certificates, .*ca-file = not set.* DASK_DISTRIBUTED__COMM__TLS__CA_FILE",
        ),
        ("tls://host:8786", {"tls.ca-file": "/none.pem"}, r"tls://host:8786 needs certificates, .*ca-file = /none\.pem"),
        (
            "tls://host:8786",
            {"tls.ca-file": "/none.pem", "tls.client.cert": "/my.pem"},
            r"cannot encrypt with .*client\.cert = /my\.pem, .*client\.key = not set: .*No such file.* Set these keys",
        ),
        ("tcp://host:8786", {"tls.min-version": 7}, r"cannot encrypt .*min-version=7 is not supported"),
        (
            "tcp://host:8786",
            {"require-encryption": True},
            r"which tcp:// has not\. Give .* as tls://HOST:8786, or turn that off",
        ),
    ],
)
def test_what_dask_lacks_for_encryption_is_said_without_its_traceback(
    address: str, settings: dict[str, object], told: str
) -> None:
    import dask.config

    with (
        dask.config.set({f"distributed.comm.{key}": value for key, value in settings.items()}),
        pytest.raises(ConfigError, match=told),
    ):
        cluster.connect(address)


def test_workers_of_other_versions_are_refused(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_SAME", ("numpy", "no-such-package"))
    with pytest.raises(ConfigError, match=r"the worker tcp://.* has .*, which can give other results"):
        cluster.connect(address)


def test_without_dask_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ConfigError, match=r"--cluster needs Dask\. Install it with `pip install 'amct-lite\[dask\]'`"):
        cluster.connect("tcp://127.0.0.1:8786")


def test_the_work_of_a_killed_worker_is_done_by_the_other(address: str, tmp_path: Path) -> None:
    """Last of this file: one worker is left afterwards."""
    mark = tmp_path / "killed"
    with cluster.connect(address) as workers:
        found = list(map_shards(workers, Task(str(mark).encode(), text, process_and_square), range(16)))
        assert len({pid for _, (pid, _) in found}) <= 2
        assert [(item, square) for item, (_, square) in found] == [(item, item * item) for item in range(16)]
        assert mark.exists()
        model = saved(net(), tmp_path)
        shared = files_of(model, images(8), tmp_path / "shared" / "m", workers)
    assert shared == files_of(model, images(8), tmp_path / "alone" / "m")
    with cluster.connect(address) as workers:
        assert workers.count == 1
