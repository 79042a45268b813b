"""Several runs at the same time: the results are those of one after the other."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest
from small_nets import FOUR_CONVS, images, net

from amct_lite import ir
from amct_lite.calibration.runner import collect
from amct_lite.config import QuantConfig
from amct_lite.lanes import in_lanes, shared
from amct_lite.plan import resolve
from amct_lite.runtime import RuntimeOptions
from amct_lite.types import Feeds


@pytest.mark.parametrize("lanes", [1, 2, 4])
def test_results_come_in_the_order_of_the_items(lanes: int) -> None:
    first_waits = threading.Event()

    def job(number: int) -> int:
        if number == 0 and lanes > 1:
            assert first_waits.wait(10)
        if number == 1:
            first_waits.set()
        return number * number

    assert list(in_lanes(lanes, job, range(7))) == [(n, n * n) for n in range(7)]


@pytest.mark.parametrize("lanes", [1, 3])
def test_a_failure_comes_in_its_turn_and_ends_the_rest(lanes: int) -> None:
    taken: list[int] = []

    def job(number: int) -> int:
        if number == 2:
            raise ValueError("the third")
        return number

    def items() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    results = in_lanes(lanes, job, items())
    assert [next(results)[0], next(results)[0]] == [0, 1]
    with pytest.raises(ValueError, match="the third"):
        next(results)
    assert len(taken) < 10


def test_threads_are_divided_among_the_lanes() -> None:
    assert [shared(RuntimeOptions(threads=n))[1] for n in (1, 2, 4, 16)] == [1, 2, 4, 4]
    assert [shared(RuntimeOptions(threads=n))[0].threads for n in (1, 2, 4, 16)] == [1, 1, 1, 4]


def test_cores_that_may_all_be_used_get_one_run_more(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, expected in {1: (0, 1), 2: (1, 3), 4: (1, 5), 16: (4, 5)}.items():
        monkeypatch.setattr("amct_lite.lanes.cores", lambda cores=cores: cores)
        options, lanes = shared(RuntimeOptions())
        assert (options.threads, lanes) == expected


def test_other_execution_providers_run_one_batch_at_a_time() -> None:
    options = RuntimeOptions(providers=("CUDAExecutionProvider", "CPUExecutionProvider"), threads=4)
    assert shared(options) == (options, 1)


@pytest.mark.parametrize("threads", [2, 4])
def test_calibration_gives_the_same_sketches_however_many_runs_are_under_way(threads: int) -> None:
    model = ir.load_bytes(net(FOUR_CONVS).SerializeToString())
    ir.name_nodes(model)
    ir.infer_shapes(model)
    plan = resolve(QuantConfig(), model)
    buffer = np.empty_like(images(1)[0]["x"])

    def through_one_buffer() -> Iterator[Feeds]:
        for feeds in images(9):
            buffer[...] = feeds["x"]
            yield {"x": buffer}

    one = collect(model, plan, images(9), options=RuntimeOptions(threads=1))
    many = collect(model, plan, through_one_buffer(), options=RuntimeOptions(threads=threads))
    assert many.statistics.sketches == one.statistics.sketches
    assert [feeds["x"].tobytes() for feeds in many.feeds] == [feeds["x"].tobytes() for feeds in one.feeds]
    for ours, theirs in zip(many.outputs, one.outputs, strict=True):
        np.testing.assert_array_equal(ours[0], theirs[0])
