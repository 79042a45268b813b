"""Outputs appear together or not at all."""

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from amct_lite import files, held
from amct_lite.errors import ExportError
from amct_lite.files import file_meant, output_path, require_writable, staged_outputs


def names_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("out/resnet", "out/resnet_deploy_model.onnx"),
        ("resnet", "resnet_deploy_model.onnx"),
        ("out/", "out/deploy_model.onnx"),
        ("", "deploy_model.onnx"),
        (".", "deploy_model.onnx"),
        ("a/..", "a/../deploy_model.onnx"),
        ("v1.2", "v1.2_deploy_model.onnx"),
        (Path("out/resnet"), "out/resnet_deploy_model.onnx"),
    ],
)
def test_output_path_follows_the_prefix_rule(prefix: str, expected: str) -> None:
    assert output_path(prefix, "deploy_model.onnx") == Path(expected)


def test_output_path_does_not_depend_on_what_exists(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert output_path(str(tmp_path / "out"), "x.txt") == tmp_path / "out_x.txt"


@pytest.mark.parametrize("given", ["out/net", "out/net_report.json", "out", "out/"])
def test_a_prefix_a_folder_or_another_file_of_a_run_leads_to_the_file_that_is_meant(
    given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "net_record.txt").touch()
    assert file_meant(given, "calibration.npz", "record.txt") == " (did you mean 'out/net_record.txt'?)"
    assert file_meant(given, "calibration.npz") == ""


def test_files_appear_together_at_the_end(tmp_path: Path) -> None:
    first, second = tmp_path / "new" / "deep" / "a.onnx", tmp_path / "b.txt"
    with staged_outputs() as out:
        out.stage(first).write_text("model")
        out.stage(second).write_text("record")
        assert not first.exists()
        assert not second.exists()
    assert first.read_text() == "model"
    assert names_in(tmp_path) == ["b.txt", "new", "new/deep", "new/deep/a.onnx"]


def test_a_staged_file_has_its_final_name_and_takes_its_side_files_along(tmp_path: Path) -> None:
    with staged_outputs() as out:
        path = out.stage(tmp_path / "a.onnx")
        assert path.name == "a.onnx"
        path.write_text("model")
        path.with_name("a.onnx.data").write_text("weights")
    assert names_in(tmp_path) == ["a.onnx", "a.onnx.data"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_a_failure_leaves_nothing_behind(tmp_path: Path, error: type[BaseException]) -> None:
    (tmp_path / "kept.txt").write_text("old")

    def fail() -> None:
        with staged_outputs() as out:
            out.stage(tmp_path / "kept.txt").write_text("new")
            out.stage(tmp_path / "new" / "deep" / "a.onnx").write_text("half")
            raise error

    with pytest.raises(error):
        fail()
    assert names_in(tmp_path) == ["kept.txt"]
    assert (tmp_path / "kept.txt").read_text() == "old"


def test_a_failure_keeps_a_new_folder_that_others_use(tmp_path: Path) -> None:
    def fail() -> None:
        with staged_outputs() as out:
            out.stage(tmp_path / "new" / "a.onnx")
            (tmp_path / "new" / "other.txt").write_text("not ours")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert names_in(tmp_path) == ["new", "new/other.txt"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failing_move_takes_all_moves_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    (tmp_path / "b.txt").write_text("old b")
    (tmp_path / "c.txt").write_text("old c")
    replace = os.replace

    def failing(source: Path, target: Path) -> None:
        if Path(target) == tmp_path / "c.txt" and Path(source).name == "c.txt":
            raise error
        replace(source, target)

    def run() -> None:
        with staged_outputs() as out:
            for name in ("a.txt", "b.txt", "c.txt"):
                out.stage(tmp_path / name).write_text("new")
            monkeypatch.setattr(files.os, "replace", failing)

    with pytest.raises((ExportError, KeyboardInterrupt)):
        run()
    assert names_in(tmp_path) == ["b.txt", "c.txt"]
    assert (tmp_path / "b.txt").read_text() == "old b"
    assert (tmp_path / "c.txt").read_text() == "old c"


def test_existing_outputs_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")
    with staged_outputs() as out:
        out.stage(tmp_path / "a.txt").write_text("new")
    assert (tmp_path / "a.txt").read_text() == "new"
    assert names_in(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("link", ["same", "dotted", "symlink", "hardlink"])
def test_an_input_is_never_overwritten(tmp_path: Path, link: str) -> None:
    model = tmp_path / "model.onnx"
    model.write_text("float")
    final = tmp_path / "x" / ".." / "model.onnx" if link == "dotted" else tmp_path / "other.onnx"
    (tmp_path / "x").mkdir()
    if link == "symlink":
        final.symlink_to(model)
    elif link == "hardlink":
        final.hardlink_to(model)
    elif link == "same":
        final = model
    with (
        pytest.raises(ExportError, match=r"would overwrite the input .*model\.onnx\. Choose another output \(-o\)"),
        staged_outputs(inputs=[model]) as out,
    ):
        out.stage(final)
    assert model.read_text() == "float"


def test_a_side_file_never_overwrites_an_input(tmp_path: Path) -> None:
    weights = tmp_path / "a.onnx.data"
    weights.write_text("float")

    def run() -> None:
        with staged_outputs(inputs=[weights]) as out:
            path = out.stage(tmp_path / "a.onnx")
            path.write_text("model")
            path.with_name("a.onnx.data").write_text("int8")

    with pytest.raises(ExportError, match="would overwrite the input"):
        run()
    assert names_in(tmp_path) == ["a.onnx.data"]
    assert weights.read_text() == "float"


def test_a_folder_in_the_place_of_an_output_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").mkdir()
    with (
        pytest.raises(ExportError, match="is a folder, a file of this name cannot be written"),
        staged_outputs() as out,
    ):
        out.stage(tmp_path / "a.onnx")


def test_a_file_in_the_place_of_the_output_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with (
        pytest.raises(ExportError, match=r"cannot write to .*out: .*Choose another output \(-o\)"),
        staged_outputs() as out,
    ):
        out.stage(tmp_path / "out" / "a.onnx")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_write_permission_is_an_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ExportError, match=r"cannot write to .*: Permission denied"), staged_outputs() as out:
        out.stage(tmp_path / "a.onnx")


FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    "error",
    [
        lambda _path: FULL,
        lambda path: OSError(errno.ENOSPC, "No space left on device", str(path)),
        lambda path: ExportError(f"cannot write {path}: No space left on device."),
    ],
    ids=["write", "open", "a writer with words of its own"],
)
def test_a_full_disk_names_the_path_that_was_asked_for(tmp_path: Path, error: Callable[[Path], Exception]) -> None:
    def run() -> None:
        with staged_outputs() as out:
            out.stage(tmp_path / "a.txt").write_text("a")
            raise error(out.stage(tmp_path / "b.txt"))

    with pytest.raises(ExportError, match=rf"^cannot write {tmp_path}/b\.txt: No space left on device\."):
        run()
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("error", [BrokenPipeError(), FileNotFoundError(2, "gone", "input.npz"), ExportError("no")])
def test_a_failure_of_something_else_stays_what_it_is(tmp_path: Path, error: Exception) -> None:
    def run() -> None:
        with staged_outputs() as out:
            out.stage(tmp_path / "a.txt")
            raise error

    with pytest.raises(type(error)) as raised:
        run()
    assert raised.value is error


def test_a_trial_leaves_nothing_behind(tmp_path: Path) -> None:
    require_writable(tmp_path / "new" / "deep" / "net")
    assert names_in(tmp_path) == []


def test_a_trial_finds_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_path: Path, _content: bytes) -> None:
        raise FULL

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(ExportError, match=rf"cannot write {tmp_path}/net_trial: No space left on device"):
        require_writable(tmp_path / "net")
    assert names_in(tmp_path) == []


def test_a_disk_too_full_for_the_lock_keeps_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> bytes:
        raise FULL

    monkeypatch.setattr(held, "_machine", full)
    with pytest.raises(ExportError, match=rf"cannot write to {tmp_path}: No space left on device"):
        require_writable(tmp_path / "net")
    assert names_in(tmp_path) == []


def test_a_trial_finds_a_place_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(ExportError, match=r"cannot write to .*out: "):
        require_writable(tmp_path / "out" / "net")


def test_a_staged_file_that_nobody_wrote_is_a_bug(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"never written: .*a\.onnx"), staged_outputs() as out:
        out.stage(tmp_path / "a.onnx")
    assert names_in(tmp_path) == []


def test_the_name_of_a_model_is_no_prefix() -> None:
    with pytest.raises(ExportError, match=r"net\.onnx is the name of a model, not a prefix.*like out/net\."):
        output_path("out/net.onnx", "record.txt")


STAGE = """
import sys, time
from amct_lite.files import staged_outputs
with staged_outputs() as outputs:
    path = outputs.stage(sys.argv[1] + "/model.onnx")
    path.write_bytes(b"half")
    print(path.parent, flush=True)
    time.sleep(60)
"""


@contextmanager
def writing_to(folder: Path) -> Iterator[tuple[Path, "subprocess.Popen[str]"]]:
    """The hidden folder of another process that is writing outputs, for an hour by the clock."""
    with subprocess.Popen([sys.executable, "-c", STAGE, str(folder)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        hidden = Path(process.stdout.readline().strip())
        aged(hidden)
        try:
            yield hidden, process
        finally:
            process.kill()


def aged(folder: Path) -> None:
    old = time.time() - 3600
    os.utime(folder, (old, old))


def test_what_a_killed_process_was_writing_goes_with_the_next_one(tmp_path: Path) -> None:
    with writing_to(tmp_path) as (left, killed), writing_to(tmp_path) as (used, _):
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        aged(left)
        with staged_outputs() as outputs:
            outputs.stage(tmp_path / "a.txt").write_text("a")
        assert not left.exists()
        assert used.exists(), "its process is alive"


@pytest.mark.parametrize("why", ["the lock is of another machine", "a file that was to be replaced is in it"])
def test_what_may_be_somebody_elses_stays(tmp_path: Path, why: str) -> None:
    hidden = tmp_path / ".amct-lite-of-another"
    hidden.mkdir()
    (hidden / held.LOCK).write_bytes(b"elsewhere" if "machine" in why else held._machine())
    if "replaced" in why:
        (hidden / "model.onnx.previous-1").write_bytes(b"the only one")
    aged(hidden)
    with staged_outputs() as outputs:
        outputs.stage(tmp_path / "a.txt").write_text("a")
    assert hidden.exists()
    assert names_in(tmp_path)[-1] == "a.txt"
