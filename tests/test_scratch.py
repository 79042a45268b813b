"""Temporary files: where they go, what is said when there is no room, and that nothing of them stays behind."""

import errno
import gc
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from amct_lite import held, ir, scratch
from amct_lite.errors import ExportError
from amct_lite.held import HeldFolder

HOLD = """
import sys, time, numpy
from amct_lite import ir
tensor = ir.tensor_of(numpy.zeros(1 << 20, numpy.float32))
print(tensor.path, flush=True)
time.sleep(float(sys.argv[1]))
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Temporary files go here, as if this were a new process with this TMPDIR."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(scratch, "_folder", None)
    return tmp_path


def process(place, seconds, code=HOLD):
    command = [sys.executable, "-c", code, str(seconds)]
    return subprocess.Popen(command, env={**os.environ, "TMPDIR": str(place)}, stdout=subprocess.PIPE, text=True)


def test_large_array_lies_in_a_file_until_its_tensor_goes(place):
    array = np.arange(1 << 18, dtype=np.float32)
    tensor = ir.tensor_of(array)
    (file,) = place.glob("amct_lite_*/*.bin")
    read = tensor.numpy()
    np.testing.assert_array_equal(read, array)
    assert not read.flags.writeable
    del tensor
    gc.collect()
    assert not file.exists()
    np.testing.assert_array_equal(read, array)  # what is mapped stays readable


def test_array_that_is_put_away_is_a_plain_one_whose_file_goes_with_it(place):
    array = np.arange(12, dtype=np.float64).reshape(3, 4)
    away = scratch.put_away(array.T)
    (file,) = place.glob("amct_lite_*/*.bin")
    assert type(away) is np.ndarray
    np.testing.assert_array_equal(away, array.T)
    assert not away.flags.writeable
    view, sent = away[1:], pickle.loads(pickle.dumps(away))
    del away
    gc.collect()
    assert file.exists()
    del view
    gc.collect()
    assert not file.exists()
    np.testing.assert_array_equal(sent, array.T)


def test_small_array_stays_in_memory(place):
    ir.tensor_of(np.zeros((1 << 18) - 1, np.float32))
    assert list(place.iterdir()) == []


def test_folder_honours_tmpdir_and_goes_with_its_process(tmp_path):
    with process(tmp_path, 0) as running:
        assert running.stdout.readline().startswith(f"{tmp_path}/amct_lite_")
    assert list(tmp_path.iterdir()) == []


def test_folder_of_a_killed_process_is_removed_by_the_next_one(tmp_path, monkeypatch):
    with process(tmp_path, 60) as killed, process(tmp_path, 60) as running:
        left, used = (p.stdout.readline().strip() for p in (killed, running))
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        old = time.time() - 3600
        for path in tmp_path.glob("amct_lite_*"):
            os.utime(path, (old, old))
        monkeypatch.setenv("TMPDIR", str(tmp_path))
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        monkeypatch.setattr(scratch, "_folder", None)
        with scratch.folder():
            assert not os.path.exists(os.path.dirname(left))
            assert os.path.exists(used), "its process is alive"
        running.kill()


def test_without_locks_a_folder_stays_while_its_lock_cannot_be_removed(tmp_path, monkeypatch):
    """As it is on Windows."""

    def in_use(_path, **_):
        raise PermissionError

    living = HeldFolder(tmp_path, "held_")
    (living.path / "content").write_text("closed, so it could be removed")
    os.utime(living.path, (0, 0))
    monkeypatch.setattr(held, "fcntl", None)
    with monkeypatch.context() as living_process:
        living_process.setattr(Path, "unlink", in_use)
        HeldFolder(tmp_path, "held_").remove()
    assert (living.path / "content").exists()
    HeldFolder(tmp_path, "held_").remove()
    assert not living.path.exists()
    living.remove()


def test_an_ended_command_leaves_nothing_behind(tmp_path):
    code = f"from amct_lite import cli; cli.group = lambda **_: exec({HOLD!r}); cli.main()"
    with process(tmp_path, 60, code) as ended:
        assert os.path.exists(ended.stdout.readline().strip())
        ended.terminate()
        assert ended.wait() == 128 + signal.SIGTERM
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_held_leaves_nothing_behind_and_nothing_open(place, monkeypatch):
    files = []

    def full(lock):
        files.append(lock)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(held, "_locked", full)
    with pytest.raises(ExportError, match="No space left on device"):
        scratch.write(lambda file: file.write(b"x"), 1)
    assert files[0].closed
    assert not list(place.iterdir())


def test_full_disk_is_an_error_that_says_where_and_what_to_do(place, monkeypatch):
    def full(_file):
        raise OSError(errno.ENOSPC, "No space left on device")

    written = scratch.write(lambda file: file.write(bytes(2_000_000)), 2_000_000)
    with pytest.raises(ExportError, match=rf"cannot write 3 MB to {place}: .* 2 MB so far.*let TMPDIR name"):
        scratch.write(full, 3_000_000)
    assert list(place.glob("*/*.bin")) == [written]


def test_a_file_that_goes_while_the_full_disk_is_told_of_is_no_error(place, monkeypatch):
    def full(_file):
        raise OSError(errno.ENOSPC, "No space left on device")

    gone = scratch.write(lambda file: file.write(bytes(1)), 1)
    monkeypatch.setattr(Path, "is_file", lambda path: path.unlink(missing_ok=True) is None)
    with pytest.raises(ExportError, match=r"cannot write 3 MB to"):
        scratch.write(full, 3_000_000)
    assert not gone.exists()


def test_a_tmpdir_that_cannot_be_used_is_not_passed_over(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "absent"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(scratch, "_folder", None)
    with pytest.raises(ExportError, match=r"cannot write 1 MB to .*absent: No such file or directory.*let TMPDIR name"):
        ir.tensor_of(np.zeros(1 << 18, np.float32))


def test_missing_temporary_folder_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "absent"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    monkeypatch.setattr(scratch, "_folder", None)
    with pytest.raises(ExportError, match=r"cannot write 1 MB to .*absent: No such file or directory"):
        ir.tensor_of(np.zeros(1 << 18, np.float32))
    with pytest.raises(ExportError, match=r"cannot write files to .*absent"), scratch.folder():
        pass
