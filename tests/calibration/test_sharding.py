"""A pass over the data shared among workers gives what one process gives, byte for byte."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_nets import FOUR_CONVS, images, net

from amct_lite import ir
from amct_lite.calibration import sharding
from amct_lite.calibration.data import CalibrationData, open_data, random_data
from amct_lite.calibration.feeds import input_specs
from amct_lite.calibration.runner import Calibration, collect
from amct_lite.calibration.store import Statistics, from_bytes, to_bytes
from amct_lite.config import QuantConfig
from amct_lite.errors import CalibrationError, DataError
from amct_lite.numerics import extremes
from amct_lite.numerics.sketch import Observation, Sketch
from amct_lite.plan import resolve
from amct_lite.runtime import RuntimeOptions
from amct_lite.types import Feeds, QuantPlan
from amct_lite.workers import LocalProcesses, Workers

ONE = RuntimeOptions(threads=1)
OPEN_BATCH = FOUR_CONVS.replace("float[N,3,16,16]", "float[N,3,H,W]").replace("float[N,10,8,8]", "float[N,10,P,Q]")


@pytest.fixture(scope="module")
def net_and_plan() -> tuple[ir.Model, QuantPlan]:
    model = ir.load_bytes(net(OPEN_BATCH).SerializeToString())
    ir.name_nodes(model)
    ir.infer_shapes(model)
    return model, resolve(QuantConfig(), model)


@pytest.fixture(scope="module")
def pool() -> Iterator[Workers]:
    with LocalProcesses(2) as workers:
        yield workers


def content(calibration: Calibration) -> tuple[bytes, list[bytes], list[bytes]]:
    feeds = [array.tobytes() for feeds in calibration.feeds for array in feeds.values()]
    return to_bytes(calibration.statistics), feeds, [array.tobytes() for row in calibration.outputs for array in row]


def folder_of(batches: list[Feeds], folder: Path) -> Path:
    for number, feeds in enumerate(batches):
        np.savez(folder / f"{number:04}.npz", **feeds)
    return folder


def differing_batches() -> list[Feeds]:
    """Batches of 1 to 4 samples of two sizes, one sample 1000 times larger; more batches than are kept."""
    sizes = [(1 + number % 4, (16, 16) if number < 30 else (12, 20)) for number in range(70)]
    batches = [images(count, seed=number, batch=count, size=size)[0] for number, (count, size) in enumerate(sizes)]
    batches[41]["x"][0] *= 1000
    return batches


@pytest.mark.parametrize("where", ["files", "list", "generator"])
def test_two_workers_give_the_bytes_of_one_process(
    where: str, net_and_plan: tuple[ir.Model, QuantPlan], pool: Workers, tmp_path: Path
) -> None:
    model, plan = net_and_plan
    batches = differing_batches()
    specs = input_specs(model)

    def opened() -> CalibrationData:
        if where == "files":
            return open_data(folder_of(batches, tmp_path), specs)
        return open_data(batches if where == "list" else (feeds for feeds in batches), specs)

    seen: list[int] = []
    alone = collect(model, plan, opened(), options=ONE)
    shared = collect(model, plan, opened(), options=ONE, workers=pool, progress=seen.append)
    assert content(shared) == content(alone)
    assert len(alone.feeds) == 64 < sum(seen) == 70
    assert alone.statistics.differing == {"x": ((1, 3, 16, 16), (2, 3, 16, 16))}


@pytest.mark.parametrize(("count", "levels"), [(7, 0), (8, 1), (64, 2)])
def test_many_workers_merge_for_themselves(
    count: int, levels: int, net_and_plan: tuple[ir.Model, QuantPlan], monkeypatch: pytest.MonkeyPatch
) -> None:
    """70 batches, in 24 or 70 shards: merged by threads that stand for so many workers, two at a time."""
    merged: list[int] = []
    merge = sharding._merge

    def told(room: sharding.Room, parts: tuple[sharding.Part, ...]) -> sharding.Part:
        merged.append(len(parts))
        return merge(room, parts)

    monkeypatch.setattr(sharding, "_merge", told)
    model, plan = net_and_plan
    batches = open_data(differing_batches(), input_specs(model))
    seen: list[int] = []
    with ThreadPoolExecutor(2) as executor:
        shared = collect(model, plan, batches, options=ONE, workers=Workers(executor, count=count), progress=seen.append)
    assert content(shared) == content(collect(model, plan, batches, options=ONE))
    assert sum(seen) == 70
    assert sorted(merged, reverse=True) == [[], [8, 8, 8], [8] * 9 + [6, 1]][levels]
    assert len(seen) == [24, 3, 2][levels]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 12), min_size=2, max_size=7), st.data())
def test_statistics_merge_in_any_tree_of_neighbours(
    monkeypatch: pytest.MonkeyPatch, cuts: list[int], data: st.DataObject
) -> None:
    """Also where so many samples are seen that only some of their extremes are kept: 10 here."""
    monkeypatch.setattr(extremes, "EVERY", 10)
    monkeypatch.setattr(extremes, "FIRST", 2)
    sizes = [(1 + number % 3) * 8 for number in range(sum(cuts))]
    samples = [2.0 ** (number % 5) * np.random.default_rng(number).normal(size=(1, 2, n)) for number, n in enumerate(sizes)]

    def observed(first: int, count: int) -> Statistics:
        found = Statistics({("x", 1): Sketch(2)}, count, "", {})
        for number, sample in enumerate(samples[first : first + count]):
            found.sketches["x", 1].observe(Observation.of(sample.astype(np.float32), 1), number)
            found = found.with_shapes({"x": sample.shape})
        return found

    parts = [observed(sum(cuts[:place]), count) for place, count in enumerate(cuts)]
    while len(parts) > 1:
        place = data.draw(st.integers(0, len(parts) - 2))
        both = from_bytes(to_bytes(parts[place].followed_by(parts[place + 1])), "a worker")
        parts = [*parts[:place], both, *parts[place + 2 :]]
    assert to_bytes(parts[0]) == to_bytes(observed(0, sum(cuts)))


def test_random_data_are_made_where_they_are_needed(net_and_plan: tuple[ir.Model, QuantPlan], pool: Workers) -> None:
    model, plan = net_and_plan
    data = random_data(input_specs(model), 9, shapes={"x": (2, 3, 16, 16)})
    assert content(collect(model, plan, data, options=ONE, workers=pool)) == content(collect(model, plan, data, options=ONE))


def test_workers_read_only_their_own_part_of_the_files(
    net_and_plan: tuple[ir.Model, QuantPlan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second half of the files is read by whoever observes it, once; this process reads none."""
    model, plan = net_and_plan
    stream = open_data(folder_of(images(8), tmp_path), input_specs(model))
    starts: list[tuple[int, str]] = []
    since = CalibrationData.since
    monkeypatch.setattr(
        CalibrationData,
        "since",
        lambda self, first: starts.append((first, threading.current_thread().name)) or since(self, first),
    )
    with ThreadPoolExecutor(1, "worker") as executor:
        collect(model, plan, stream, options=ONE, workers=Workers(executor, count=1))
    assert [first for first, _ in starts] == [0, 2, 4, 6]
    assert all(name.startswith("worker") for _, name in starts)


def test_reading_from_a_batch_on_opens_no_file_before_it(net_and_plan: tuple[ir.Model, QuantPlan], tmp_path: Path) -> None:
    stream = open_data(folder_of(images(6), tmp_path), input_specs(net_and_plan[0]))
    (tmp_path / "0001.npz").write_bytes(b"damaged")
    rest = list(stream.since(3))
    assert [feeds["x"].tobytes() for feeds in rest] == [feeds["x"].tobytes() for feeds in images(6)[3:]]
    with pytest.raises(DataError, match=r"0001\.npz"):
        list(stream.since(1))


def test_one_file_of_many_samples_is_read_from_any_row(net_and_plan: tuple[ir.Model, QuantPlan], tmp_path: Path) -> None:
    whole = np.concatenate([feeds["x"] for feeds in images(10)])
    np.save(tmp_path / "all.npy", whole)
    stream = open_data(tmp_path / "all.npy", input_specs(net_and_plan[0]), batch_size=3)
    assert [feeds["x"].shape[0] for feeds in stream.since(2)] == [3, 1]
    np.testing.assert_array_equal(next(stream.since(2))["x"], whole[6:9])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_value_that_cannot_be_observed_is_named_by_its_sample_as_in_one_process(
    bad: float, net_and_plan: tuple[ir.Model, QuantPlan], pool: Workers
) -> None:
    model, plan = net_and_plan
    batches: list[Feeds] = images(40, batch=2)
    batches[17]["x"][1, 0, 3, 3] = bad
    messages = []
    for workers in (None, pool):
        with pytest.raises(CalibrationError, match=r"sample 35") as caught:
            collect(model, plan, batches, options=ONE, workers=workers)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


def test_pieces_that_travel_are_bounded_by_their_size() -> None:
    large = [{"x": np.zeros(3 << 20, np.uint8)} for _ in range(7)]
    assert [len(piece) for piece in sharding._pieces(iter(large), 64)] == [3, 3, 1]
    assert [len(piece) for piece in sharding._pieces(islice(iter(images(9)), 9), 4)] == [4, 4, 1]


def test_no_data_is_an_error_with_workers_too(net_and_plan: tuple[ir.Model, QuantPlan], pool: Workers) -> None:
    with pytest.raises(CalibrationError, match="the calibration data is empty"):
        collect(*net_and_plan, [], options=ONE, workers=pool)
