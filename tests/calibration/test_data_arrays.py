""".npy and .npz: how files become batches, and which files are refused."""

import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from amct_lite.calibration.data import InputSpec, open_data
from amct_lite.calibration.readers import numpy_files
from amct_lite.calibration.tame import batch_size
from amct_lite.errors import ConfigError, DataError

X = InputSpec("x", "float32", ("N", 2, 3))
FIXED = InputSpec("x", "float32", (4, 2, 3))
SIGNAL = InputSpec("x", "float32", ("length",))
IDS = InputSpec("ids", "int64", ("N", "length"))


def ramp(*shape: int) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def shapes(source: object, *inputs: InputSpec, **options: int) -> list[tuple[int, ...]]:
    return [feeds[inputs[0].name].shape for feeds in open_data(source, inputs, **options)]


def test_a_folder_of_npz_is_one_batch_a_file_in_lexicographic_order(tmp_path: Path) -> None:
    for name in ("b", "a10", "a2", "B"):
        np.savez(tmp_path / f"{name}.npz", x=np.full((2, 2, 3), ord(name[0]) * 100 + len(name), np.float32))
    data = open_data(tmp_path, [X])
    assert [float(feeds["x"][0, 0, 0]) for feeds in data] == [6601, 9703, 9702, 9801]  # B, a10, a2, b
    assert data.count == 4
    assert data.description == f"{tmp_path} (4 .npz files)"


def test_data_can_be_read_again_and_peeked_at(tmp_path: Path) -> None:
    for index in range(3):
        np.savez(tmp_path / f"{index}.npz", x=np.full((1, 2, 3), index))
    data = open_data(tmp_path, [X])
    assert data.repeatable
    assert data.peek()["x"][0, 0, 0] == 0
    assert [float(f["x"][0, 0, 0]) for f in data] == [float(f["x"][0, 0, 0]) for f in data] == [0, 1, 2]


def test_mixed_batch_sizes_and_variable_shapes_are_welcome(tmp_path: Path) -> None:
    for index, shape in enumerate([(1, 5), (3, 2), (2, 9)]):
        np.savez_compressed(tmp_path / f"{index}.npz", ids=np.ones(shape, np.int64))
    assert shapes(tmp_path, IDS) == [(1, 5), (3, 2), (2, 9)]


def test_other_files_in_the_folder_do_not_matter(tmp_path: Path) -> None:
    np.save(tmp_path / "0.npy", ramp(1, 2, 3))
    for name in ("README.md", ".hidden.npz", "labels.txt"):
        (tmp_path / name).write_text("")
    assert shapes(tmp_path, X) == [(1, 2, 3)]


def test_the_only_array_of_a_single_input_model_may_have_any_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", ramp(2, 2, 3))
    assert shapes(tmp_path / "a.npz", X) == [(1, 2, 3)] * 2
    assert open_data(tmp_path, [X]).description == f"{tmp_path} (1 .npz file)"


def test_an_array_of_another_name_is_told_once(tmp_path: Path) -> None:
    for name in ("a", "b"):
        np.savez(tmp_path / f"{name}.npz", images=ramp(2, 2, 3))
    told = f"{tmp_path} (2 .npz files), array 'images' taken as input 'x'"
    assert open_data(tmp_path, [X]).description == told
    np.savez(tmp_path / "c.npz", pictures=ramp(2, 2, 3))
    assert open_data(tmp_path, [X]).description == told.replace("2 .npz", "3 .npz") + " (the first of 2 names)"
    with pytest.raises(
        DataError, match=r"input 'y' has shape \(2, 2, 3\) in batch 0 \(.*a\.npz, array 'images' taken as input 'y'\)"
    ):
        open_data(tmp_path, [InputSpec("y", "float32", ("N", 5, 5))], batch_size=2).peek()


def test_several_arrays_are_matched_by_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", mask=np.ones((4, 5), np.int64), ids=np.zeros((4, 5), np.int64))
    mask = InputSpec("mask", "int64", ("N", None))
    (feeds,) = open_data(tmp_path / "a.npz", [IDS, mask], batch_size=4)
    assert list(feeds) == ["ids", "mask"]
    assert feeds["mask"].all()


@pytest.mark.parametrize(
    ("shape", "spec", "size", "expected"),
    [
        ((5, 2, 3), X, None, [(1, 2, 3)] * 5),
        ((5, 2, 3), X, 2, [(2, 2, 3), (2, 2, 3), (1, 2, 3)]),
        ((5, 2, 3), X, 9, [(5, 2, 3)]),
        ((2, 3), X, None, [(1, 2, 3)]),
        ((5, 2, 2, 3), X, None, [(2, 2, 3)] * 5),
        ((8, 2, 3), FIXED, None, [(4, 2, 3)] * 2),
        ((8, 2, 3), FIXED, 1, [(4, 2, 3)] * 2),
        ((3, 4, 2, 3), FIXED, None, [(4, 2, 3)] * 3),
        ((3, 2, 2), InputSpec("x", "float32", (2, 2)), None, [(2, 2)] * 3),
        ((3,), InputSpec("x", "float32", ()), None, [()] * 3),
        ((7,), SIGNAL, None, [(7,)]),
        ((6,), SIGNAL, 2, [(2,)] * 3),
        ((3, 7), SIGNAL, None, [(7,)] * 3),
    ],
)
@pytest.mark.parametrize("form", ["npy", "npz", "array", "mapping"])
def test_a_stack_of_samples_is_cut_into_batches(
    tmp_path: Path,
    form: str,
    shape: tuple[int, ...],
    spec: InputSpec,
    size: int | None,
    expected: list[tuple[int, ...]],
) -> None:
    array = ramp(*shape)
    np.save(tmp_path / "a.npy", array)
    np.savez(tmp_path / "a.npz", x=array)
    source = {"array": array, "mapping": {"x": array}}.get(form, tmp_path / f"a.{form}")
    data = open_data(source, [spec], batch_size=size)
    batches = [feeds["x"] for feeds in data]
    assert [batch.shape for batch in batches] == expected
    assert data.count == len(expected)
    np.testing.assert_array_equal(np.concatenate([b.ravel() for b in batches]), array.ravel())


def test_files_of_a_folder_are_cut_only_when_a_batch_size_is_given(tmp_path: Path) -> None:
    np.save(tmp_path / "0.npy", ramp(3, 2, 3))
    np.save(tmp_path / "1.npy", ramp(2, 2, 3))
    assert shapes(tmp_path, X) == [(3, 2, 3), (2, 2, 3)]
    assert shapes(tmp_path, X, batch_size=2) == [(2, 2, 3), (1, 2, 3), (2, 2, 3)]


def test_inputs_are_cut_alike(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=ramp(8, 2, 3), ids=np.ones((4, 5), np.int64))
    batches = list(open_data(tmp_path / "a.npz", [FIXED, IDS]))
    assert [(f["x"].shape, f["ids"].shape) for f in batches] == [((4, 2, 3), (2, 5))] * 2


def test_inputs_of_different_length_are_not_cut(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=ramp(6, 2, 3), ids=np.ones((4, 5), np.int64))
    assert shapes(tmp_path / "a.npz", X, IDS) == [(6, 2, 3)]


def test_a_remainder_of_a_fixed_batch_is_an_error(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", ramp(6, 2, 3))
    with pytest.raises(DataError, match=r"shape \(6, 2, 3\) in batch 0 \(.*a\.npy\), the model expects \(4, 2, 3\)"):
        list(open_data(tmp_path / "a.npy", [FIXED]))


def test_a_part_of_a_file_is_named_in_errors(tmp_path: Path) -> None:
    array = ramp(3, 2, 3)
    array[1, 0, 0] = np.nan
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(DataError, match=r"NaN in sample 0 of batch 1 \(.*a\.npy, part 1 of 3\)"):
        list(open_data(tmp_path / "a.npy", [X]))


def test_npy_folders_hold_one_input_each(tmp_path: Path) -> None:
    for name, array in (("x", ramp(2, 2, 3)), ("ids", np.ones((2, 5), np.int64))):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "0.npy", array)
    (feeds,) = open_data(tmp_path, [X, IDS])
    assert {name: array.shape for name, array in feeds.items()} == {"x": (2, 2, 3), "ids": (2, 5)}


def test_npy_files_feed_one_input_only(tmp_path: Path) -> None:
    np.save(tmp_path / "0.npy", ramp(1, 2, 3))
    with pytest.raises(DataError, match=r"\.npy files hold one array each, the model has 2 inputs \('x', 'ids'\)"):
        open_data(tmp_path, [X, IDS])


def test_fewer_batches_than_asked_for_states_both_counts(tmp_path: Path) -> None:
    np.save(tmp_path / "0.npy", ramp(1, 2, 3))
    with pytest.raises(DataError, match=r"\(1 \.npy file\) gives 1 batch, 4 were asked for.*--batches 1"):
        open_data(tmp_path, [X], batches=4)


def test_only_the_files_that_are_needed_are_opened(tmp_path: Path) -> None:
    np.save(tmp_path / "0.npy", ramp(1, 2, 3))
    (tmp_path / "1.npy").write_bytes(b"damaged")
    data = open_data(tmp_path, [X], batches=1)
    assert (data.count, len(list(data))) == (1, 1)


@pytest.mark.parametrize(("option", "value"), [("batches", 0), ("batch_size", 0), ("batch_size", -1)])
def test_counts_below_one_are_refused(option: str, value: int) -> None:
    with pytest.raises(ConfigError, match=rf"is {value}, it must be at least 1"):
        open_data(ramp(1, 2, 3), [X], **{option: value})


def test_files_of_several_kinds_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "0.npy", ramp(1, 2, 3))
    np.savez(tmp_path / "0.npz", x=ramp(1, 2, 3))
    with pytest.raises(DataError, match=r"several kinds \(1 × \.npy, 1 × \.npz\)"):
        open_data(tmp_path, [X])


def test_a_folder_without_data_says_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no calibration data\. Expected are \.npz files"):
        open_data(tmp_path, [X])


def test_a_missing_path_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no file or folder .*nowhere"):
        open_data(str(tmp_path / "nowhere"), [X])


def test_an_unknown_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("1,2")
    with pytest.raises(DataError, match=r"a\.csv is no calibration data\. Expected is a \.npz"):
        open_data(tmp_path / "a.csv", [X])


def test_an_empty_array_is_an_error(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", ramp(0, 2, 3))
    with pytest.raises(DataError, match="input 'x' is empty in batch 0"):
        open_data(tmp_path / "a.npy", [X]).peek()


# --- hostile files ---


@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_objects_are_never_unpickled(tmp_path: Path, suffix: str) -> None:
    array = np.array([{"a": 1}], dtype=object)
    path = tmp_path / f"a.{suffix}"
    np.save(path, array, allow_pickle=True) if suffix == "npy" else np.savez(path, x=array)
    with pytest.raises(DataError, match="holds Python objects or records, which are never loaded"):
        open_data(path, [X])


def claim(shape: tuple[int, ...]) -> bytes:
    """A .npy file of 8 bytes of data whose header claims `shape`."""
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(8)


@pytest.mark.parametrize("shape", [(10**15, 2, 3), (3,), (-1, 2)])
def test_a_header_that_claims_more_than_the_file_holds_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    (tmp_path / "a.npy").write_bytes(claim(shape))
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", claim(shape))
    for name in ("a.npy", "a.npz"):
        with pytest.raises(DataError, match=r"claims shape .* the file holds 8"):
            open_data(tmp_path / name, [X])


def test_a_zip_bomb_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros((300_000, 2, 3), np.float32))
    monkeypatch.setattr(numpy_files, "_MAX_SUSPECT_BYTES", 1 << 20)
    monkeypatch.setattr(numpy_files, "_member_shape", lambda *_: pytest.fail("unpacked"))
    with pytest.raises(DataError, match="over 100 times its size; refused as a zip bomb"):
        open_data(tmp_path / "a.npz", [X])


def test_an_archive_of_other_things_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("setup.py", "print()")
    with pytest.raises(DataError, match=r"holds more than named arrays \('setup\.py'\)"):
        open_data(tmp_path / "a.npz", [X])


@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_a_damaged_file_is_named(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"a.{suffix}").write_bytes(b"not numpy at all")
    with pytest.raises(DataError, match=rf"a\.{suffix} is no valid \.{suffix} file"):
        open_data(tmp_path / f"a.{suffix}", [X])


def test_a_cut_off_file_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", ramp(4, 2, 3))
    content = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(content[:-10])
    with pytest.raises(DataError, match="cut off or damaged"):
        open_data(tmp_path / "a.npy", [X])


def test_a_link_that_leads_nowhere_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.npy").symlink_to(tmp_path / "b.npy")
    (tmp_path / "b.npy").symlink_to(tmp_path / "a.npy")
    for source in (tmp_path, tmp_path / "a.npy"):
        with pytest.raises(DataError, match="not a regular file, or a link that leads nowhere"):
            open_data(source, [X])


@pytest.mark.filterwarnings("ignore:Reading `.npy` or `.npz` file required additional header parsing")
@pytest.mark.filterwarnings("ignore::SyntaxWarning")
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    suffix=st.sampled_from(["npy", "npz"]),
    edits=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), min_size=1, max_size=4),
)
def test_any_damage_is_a_data_error_or_harmless(tmp_path: Path, suffix: str, edits: list[tuple[float, int]]) -> None:
    path = tmp_path / f"a.{suffix}"
    np.save(path, ramp(2, 2, 3)) if suffix == "npy" else np.savez_compressed(path, x=ramp(2, 2, 3))
    content = bytearray(path.read_bytes())
    for place, value in edits:
        content[int(place * len(content))] = value
    path.write_bytes(content)
    with suppress(DataError):  # any other exception fails the test
        for feeds in open_data(path, [X]):
            assert feeds["x"].shape[1:] == (2, 3)


@pytest.mark.parametrize("size", [1, 5, 16, 33])
def test_the_number_of_samples_does_not_depend_on_the_size_of_a_batch(tmp_path: Path, size: int) -> None:
    np.save(tmp_path / "x.npy", ramp(33, 2, 3))
    assert open_data(tmp_path / "x.npy", [X], batch_size=size).samples == 33


def test_the_number_of_samples_is_that_of_the_batches_asked_for(tmp_path: Path) -> None:
    for name in "abc":
        np.savez(tmp_path / f"{name}.npz", x=ramp(4, 2, 3))
    assert open_data(tmp_path, [X]).samples == 12
    assert open_data(tmp_path, [X], batches=2).samples == 8
    assert open_data(lambda: iter([{"x": ramp(4, 2, 3)}]), [X]).samples is None


def test_an_axis_that_runs_through_a_sample_is_not_counted_as_samples(tmp_path: Path) -> None:
    np.save(tmp_path / "0.npy", ramp(7))
    np.save(tmp_path / "1.npy", ramp(9))
    for source in (tmp_path, [ramp(7), ramp(9)]):
        data = open_data(source, [SIGNAL])
        assert data.samples == 2
        assert [batch_size(feeds) for feeds in data] == [1, 1]
    sizes = InputSpec("sizes", "float32", ("N",))
    assert open_data({"x": ramp(4, 2, 3), "sizes": ramp(4)}, [X, sizes]).samples == 4


def test_an_input_whose_name_is_too_long_for_a_folder_is_read_from_archives(tmp_path: Path) -> None:
    name = "x" * 300
    np.savez(tmp_path / "0.npz", **{name: ramp(1, 2, 3)})
    assert shapes(tmp_path, InputSpec(name, "float32", ("N", 2, 3))) == [(1, 2, 3)]
