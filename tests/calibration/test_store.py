"""The calibration file: what goes in comes out, the same content gives the same bytes, anything else is refused."""

from __future__ import annotations

import io
import json
from dataclasses import MISSING, fields, replace
from pathlib import Path

import numpy as np
import pytest

from amct_lite.calibration import store
from amct_lite.calibration.store import Statistics
from amct_lite.errors import CalibrationError
from amct_lite.numerics.sketch import Observation, Sketch
from amct_lite.types import Balance
from amct_lite.weights.rounding import Rounding


def sketch(seed: int, *, wild: int | None = None, samples: int = 8) -> Sketch:
    array = np.random.default_rng(seed).standard_normal((samples, 3, 5)).astype(np.float32)
    if wild is not None:
        array[wild] *= 1000
    made = Sketch(3)
    made.observe(Observation.of(array, 1), 0)
    return made


@pytest.fixture
def statistics() -> Statistics:
    return Statistics(
        {("x", 1): sketch(0, wild=2), ("a/b:0", None): sketch(1), ("x", None): sketch(2)},
        8,
        "checksum",
        {"x": (1, 3, 5), "ids": None, "scalar": ()},
        data="calib/",
        bias_correction="full",
        bias_shifts={"conv": np.array([0.5, -0.25], np.float32)},
        unfused=("conv",),
        differing={"ids": ((4, 2), (3, 2))},
    )


def load(content: bytes, folder: Path) -> Statistics:
    path = folder / "r_calibration.npz"
    path.write_bytes(content)
    return store.load(path)


def test_what_goes_in_comes_out(statistics: Statistics, tmp_path: Path) -> None:
    again = load(store.to_bytes(statistics), tmp_path)
    assert again.sketches == statistics.sketches
    assert again.shapes == statistics.shapes
    assert again.bias_shifts is not None
    np.testing.assert_array_equal(again.bias_shifts["conv"], [0.5, -0.25])
    plain = {"sketches": {}, "bias_shifts": None}
    assert replace(again, **plain) == replace(statistics, **plain)


def test_so_does_all_that_a_run_may_have_learned(statistics: Statistics, tmp_path: Path) -> None:
    moves = np.array([[1, 0, -1]], np.int8)
    full = replace(
        statistics,
        random=True,
        trusted=True,
        bias_correction="none",
        bias_record="digest",
        runs=3,
        roundings={"conv": Rounding(moves, "w", "gptq", 0.5, 0.25)},
        balance=Balance({"conv": (1.0, 2.0, 0.5), "fc": (4.0,)}, {"conv": 0.5, "fc": 0.8}, fold=True),
        halves=("fc",),
        taken_apart=True,
        task="of this record",
    )
    optional = [field for field in fields(Statistics) if field.default is not MISSING]
    assert [field.name for field in optional if getattr(full, field.name) == field.default] == [], "each is told something"
    again = load(store.to_bytes(full), tmp_path)
    assert again.roundings.keys() == {"conv"}
    np.testing.assert_array_equal(again.roundings["conv"].moves, moves)
    assert replace(again.roundings["conv"], moves=moves) == full.roundings["conv"]
    plain = {"sketches": {}, "bias_shifts": None, "roundings": {}}
    assert replace(again, **plain) == replace(full, **plain)


def test_absent_bias_shifts_stay_absent(statistics: Statistics, tmp_path: Path) -> None:
    assert load(store.to_bytes(replace(statistics, bias_shifts=None)), tmp_path).bias_shifts is None
    assert load(store.to_bytes(replace(statistics, bias_shifts={})), tmp_path).bias_shifts == {}


def test_same_content_gives_the_same_bytes(statistics: Statistics, tmp_path: Path) -> None:
    content = store.to_bytes(statistics)
    assert store.to_bytes(statistics) == content
    assert store.to_bytes(load(content, tmp_path)) == content


def test_file_holds_plain_arrays_only(statistics: Statistics) -> None:
    with np.load(io.BytesIO(store.to_bytes(statistics)), allow_pickle=False) as archive:
        assert {archive[name].dtype.kind for name in archive.files} <= set("iufb")
        assert len(archive.files) > len(statistics.sketches)


def test_wild_samples_are_left_out_unless_trusted(statistics: Statistics) -> None:
    usable, outliers = statistics.usable()
    assert {name: [o.sample for o in found] for name, found in outliers.items()} == {"x": [2]}
    assert usable["x", 1].samples == 7
    assert usable["a/b:0", None].samples == 8
    assert replace(statistics, trusted=True).usable() == (statistics.sketches, {})


def test_a_missing_file_is_answered_with_what_writes_one(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match=r"no calibration file .*absent\.npz\. `amct-lite calibrate` writes one"):
        store.load(tmp_path / "absent.npz")


def test_another_format_is_named(statistics: Statistics, tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match=r"has calibration format 99, this version reads 2\. Calibrate again"):
        load(edited(statistics, format=99), tmp_path)


def arrays_of(statistics: Statistics) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(store.to_bytes(statistics))) as archive:
        return {name: archive[name] for name in archive.files}


def rewritten(statistics: Statistics, changed: dict[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **(arrays_of(statistics) | changed))
    return buffer.getvalue()


def edited(statistics: Statistics, **meta: object) -> bytes:
    changed = json.loads(arrays_of(statistics)["meta"].tobytes()) | meta
    return rewritten(statistics, {"meta": np.frombuffer(json.dumps(changed).encode(), np.uint8)})


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: b"not a zip file",
        lambda content: content[: len(content) // 2],
        lambda content: content[:300] + bytes(40) + content[340:],
    ],
    ids=["empty", "text", "cut", "overwritten"],
)
def test_damaged_file_is_refused(damage, statistics: Statistics, tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match=r"r_calibration\.npz is not a calibration file .*Calibrate again"):
        load(damage(store.to_bytes(statistics)), tmp_path)


@pytest.mark.parametrize(
    "meta", [{"tensors": [["x", 1]] * 9}, {"samples": "many"}, {"bias_shifts": ["a", "b"]}, {"shapes": []}, {"tensors": 3}]
)
def test_contents_that_contradict_each_other_are_refused(
    meta: dict[str, object], statistics: Statistics, tmp_path: Path
) -> None:
    with pytest.raises(CalibrationError, match=r"Calibrate again"):
        load(edited(statistics, **meta), tmp_path)


@pytest.mark.parametrize("shapes", [[[3]] * 3, [[-1]] * 3, [[8]], [[4, 2]] * 3], ids=["short", "negative", "few", "other axes"])
def test_columns_that_do_not_have_their_shapes_are_refused(
    shapes: list[list[int]], statistics: Statistics, tmp_path: Path
) -> None:
    content = rewritten(statistics, {"tensors/sample_low.shapes": np.array(shapes)})
    with pytest.raises(CalibrationError, match=r"Calibrate again"):
        load(content, tmp_path)


def test_pickles_are_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, meta=np.array([{"format": 2}], dtype=object))
    with pytest.raises(CalibrationError, match="is not a calibration file"):
        load(buffer.getvalue(), tmp_path)


def test_archive_of_samples_is_no_calibration(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, x=np.zeros(3))
    with pytest.raises(CalibrationError, match="is not a calibration file"):
        load(buffer.getvalue(), tmp_path)


def test_archive_that_unpacks_to_far_more_than_its_size_is_refused(statistics: Statistics, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **(arrays_of(statistics) | {"tensors/values": np.zeros(16 << 20, np.float32)}))
    with pytest.raises(CalibrationError, match=r"not a calibration file .*would unpack to"):
        load(buffer.getvalue(), tmp_path)


def test_random_statistics_warn_and_all_say_where_they_come_from(statistics: Statistics) -> None:
    assert statistics.warnings() == ()
    assert statistics.notes() == ("calibrated with 8 samples from calib/",)
    (note,) = replace(statistics, samples=1).notes()
    assert note == "calibrated with 1 sample from calib/; so few may miss what real data do, 32 or more are better"
    (warning,) = replace(statistics, random=True).warnings()
    assert "random numbers" in warning
