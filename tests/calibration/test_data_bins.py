""".bin files in AMCT's layout, and folders given one by one."""

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from corpus import SHARED, needs_shared

from amct_lite.calibration.data import InputSpec, open_data
from amct_lite.errors import DataError

X = InputSpec("x", "float32", ("N", 2, 3))
IDS = InputSpec("ids", "int64", ("batch", "length"))


def write(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    array.tofile(path)
    return path


def test_a_folder_for_each_input_is_read_in_lexicographic_order(tmp_path: Path) -> None:
    mask = InputSpec("mask", "uint8", (1, 4))
    for index, name in enumerate(("10", "2", "1")):
        write(tmp_path / "x" / f"{name}.bin", np.full((1, 2, 3), index, np.float32))
        write(tmp_path / "mask" / f"{name}.bin", np.full((1, 4), index, np.uint8))
    batches = list(open_data(tmp_path, [X, mask]))
    assert [int(feeds["x"][0, 0, 0]) for feeds in batches] == [2, 0, 1]  # "1", "10", "2"
    assert [int(feeds["mask"][0, 0]) for feeds in batches] == [2, 0, 1]


def test_folders_may_be_listed_in_the_order_of_the_inputs(tmp_path: Path) -> None:
    write(tmp_path / "first" / "0.bin", np.ones((1, 2, 3), np.float32))
    write(tmp_path / "second" / "0.bin", np.ones((1, 4), np.uint8))
    (feeds,) = open_data(f"{tmp_path}/first/;{tmp_path}/second/", [X, InputSpec("m:0", "uint8", (1, 4))])
    assert list(feeds) == ["x", "m:0"]


@pytest.mark.parametrize("source", [".", "x/;m/", "x;m;"])
def test_other_processes_read_the_same_folders_wherever_they_are(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = [X, InputSpec("m", "uint8", (1, 4))]
    for index in range(3):
        write(tmp_path / "data" / "x" / f"{index}.bin", np.full((1, 2, 3), index, np.float32))
        write(tmp_path / "data" / "m" / f"{index}.bin", np.full((1, 4), index, np.uint8))
    monkeypatch.chdir(tmp_path / "data")
    data = open_data(source, inputs, batches=2)
    monkeypatch.chdir(tmp_path)
    again = pickle.loads(pickle.dumps(data.reopen))()
    assert [(int(feeds["x"][0, 0, 0]), int(feeds["m"][0, 0])) for feeds in again] == [(0, 0), (1, 1)]


def test_a_single_input_needs_no_folder_of_its_own(tmp_path: Path) -> None:
    path = write(tmp_path / "0.bin", np.ones((4, 2, 3), np.float32))
    for source in (tmp_path, f"{tmp_path};", path):
        assert [feeds["x"].shape for feeds in open_data(source, [X])] == [(4, 2, 3)]


def test_an_input_name_with_slashes_is_a_nested_folder(tmp_path: Path) -> None:
    write(tmp_path / "in" / "x" / "0.bin", np.ones((1, 2, 3), np.float32))
    assert open_data(tmp_path, [InputSpec("in/x", "float32", (1, 2, 3))]).peek()["in/x"].shape == (1, 2, 3)


@pytest.mark.parametrize(
    ("model", "hint", "written", "expected"),
    [
        (("N", 2, 3), None, (4, 2, 3), (4, 2, 3)),
        ((1, "length"), None, (1, 7), (1, 7)),
        (("N", "length"), (1, 5), (4, 5), (4, 5)),  # the hint's batch is the deploy model's, not the file's
        (("N", "length"), (2, None), (2, 9), (2, 9)),
        (("N", "length"), (2, -1), (2, 9), (2, 9)),
        (("N", 2, 3), (1, 2, 3), (4, 2, 3), (4, 2, 3)),
        (None, (2, 5), (2, 5), (2, 5)),
        ((), None, (), ()),
    ],
)
def test_open_dimensions_come_from_the_hint_then_from_the_size(
    tmp_path: Path,
    model: tuple[int | str, ...] | None,
    hint: tuple[int | None, ...] | None,
    written: tuple[int, ...],
    expected: tuple[int, ...],
) -> None:
    path = write(tmp_path / "0.bin", np.ones(written, np.float32))
    spec = InputSpec("x", "float32", model)
    assert open_data(path, [spec], shapes={"x": hint} if hint else None).peek()["x"].shape == expected


@pytest.mark.parametrize("batch", [1, "N"])
def test_an_empty_file_is_what_a_decoder_has_seen_before_its_first_step(tmp_path: Path, batch: int | str) -> None:
    write(tmp_path / "x" / "0.bin", np.ones((1, 2, 3), np.float32))
    write(tmp_path / "past" / "0.bin", np.ones(0, np.float32))
    past = InputSpec("past", "float32", (batch, "seen", 8))
    assert open_data(tmp_path, [X, past], shapes={"past": (1, 0, 8)}).peek()["past"].shape == (1, 0, 8)


@pytest.mark.parametrize(
    ("model", "hint", "written", "message"),
    [
        (
            ("N", "length"),
            None,
            (2, 4),
            r'leaves 2 dimensions of input \'x\' \(N, length\) open. Pass --input-shape "x:1,\?"',
        ),
        ((1, 2, 3), None, (2, 2, 3), r"has 48 bytes, input 'x' of shape \(1, 2, 3\) in float32 takes 24"),
        (("N", 2, 3), None, (5,), r"has 20 bytes, input 'x' of shape \(\?, 2, 3\) in float32 takes a multiple of 24"),
        (("N", 2, 3), None, (0,), r"has 0 bytes"),
        (("N", "length"), (1, 2, 3), (2, 4), r"--input-shape gives input 'x' 3 dimensions, the model has 2"),
        (None, None, (2, 4), r'has no shape, nor has input \'x\' in the model. Pass --input-shape "x:…"'),
    ],
)
def test_a_shape_that_cannot_be_known_or_does_not_fit_is_an_error(
    tmp_path: Path,
    model: tuple[int | str, ...] | None,
    hint: tuple[int, ...] | None,
    written: tuple[int, ...],
    message: str,
) -> None:
    path = write(tmp_path / "0.bin", np.ones(written, np.float32))
    with pytest.raises(DataError, match=message):
        open_data(path, [InputSpec("x", "float32", model)], shapes={"x": hint} if hint else None)


def test_folders_must_agree_in_number_of_files(tmp_path: Path) -> None:
    for name in ("x/0", "x/1", "ids/0"):
        write(tmp_path / f"{name}.bin", np.ones((1, 2, 3), np.float32))
    with pytest.raises(DataError, match=r"different numbers of files \(.*x: 2, .*ids: 1\)"):
        open_data(tmp_path, [X, IDS])


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    write(tmp_path / "x" / "0.bin", np.ones((1, 2, 3), np.float32))
    with pytest.raises(DataError, match="has no folder for input 'ids', only for 'x'"):
        open_data(tmp_path, [X, IDS])


def test_folders_of_different_kinds_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "x" / "0.bin", np.ones((1, 2, 3), np.float32))
    (tmp_path / "ids").mkdir()
    np.save(tmp_path / "ids" / "0.npy", np.ones((1, 2), np.int64))
    with pytest.raises(DataError, match=r"must hold \.bin files, or \.npy files in all of them \(.*x: \.bin; .*ids: \.npy\)"):
        open_data(tmp_path, [X, IDS])


def test_the_listed_folders_must_match_the_inputs(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"names 1 folders, the model has 2 inputs \('x', 'ids'\)"):
        open_data(f"{tmp_path};", [X, IDS])
    with pytest.raises(DataError, match="nowhere is not a folder"):
        open_data(f"{tmp_path};nowhere", [X, IDS])


def test_a_file_that_changes_while_in_use_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path / "0.bin", np.ones((2, 2, 3), np.float32))
    data = open_data(path, [X])
    write(path, np.ones((1, 2, 3), np.float32))
    with pytest.raises(DataError, match="has changed while it was in use"):
        data.peek()


def test_an_input_name_never_leads_out_of_the_folder(tmp_path: Path) -> None:
    write(tmp_path / "secret" / "0.bin", np.ones((1, 2, 3), np.float32))
    (tmp_path / "data").mkdir()
    with pytest.raises(DataError, match="holds no calibration data"):
        open_data(tmp_path / "data", [InputSpec("../secret", "float32", (1, 2, 3))])


@needs_shared
@pytest.mark.parametrize("raw", [[], ["--bin"]])
def test_dumped_calibration_samples_are_read(tmp_path: Path, raw: list[str]) -> None:
    spec = InputSpec("Input3", "float32", (1, 1, 28, 28))
    command = [
        sys.executable,
        str(SHARED / "corpus" / "tasks.py"),
        "dump",
        "mnist_cnn",
        str(tmp_path),
        "--count",
        "5",
        *raw,
    ]
    subprocess.run(command, check=True)
    batches = list(open_data(tmp_path, [spec], batches=5))
    assert [feeds["Input3"].shape for feeds in batches] == [(1, 1, 28, 28)] * 5
    assert max(float(feeds["Input3"].max()) for feeds in batches) == 255  # the task feeds raw pixels
