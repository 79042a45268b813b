"""The run over the data: sketches stay, activations and most feeds go, and a bad value is named."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import numpy as np
import pytest
from small_nets import FOUR_CONVS, images, net, run

from amct_lite import ir
from amct_lite.calibration.observing import MOST_KEPT
from amct_lite.calibration.runner import collect, keep
from amct_lite.calibration.tame import batch_size, without_samples
from amct_lite.config import QuantConfig
from amct_lite.errors import CalibrationError
from amct_lite.numerics.sketch import Observation, Sketch
from amct_lite.plan import resolve
from amct_lite.runtime import RuntimeOptions
from amct_lite.types import Feeds, QuantPlan

ONE = RuntimeOptions(threads=1)


def prepared(text: str = FOUR_CONVS, **values: object) -> tuple[ir.Model, QuantPlan]:
    model = ir.load_bytes(net(text, **values).SerializeToString())
    ir.name_nodes(model)
    ir.infer_shapes(model)
    return model, resolve(QuantConfig(), model)


def test_sketches_are_those_of_the_tensors_themselves() -> None:
    model, plan = prepared()
    data = images(6, batch=2)
    calibration = collect(model, plan, data, options=ONE)
    fetched = ir.clone(model)
    tensors = [tensor for tensor in plan.tensors if tensor.name != "x"]
    values = {value.name: value for node in fetched.graph for value in node.outputs}
    fetched.graph.outputs.clear()
    fetched.graph.outputs.extend(values[tensor.name] for tensor in tensors)
    expected = {tensor.key: Sketch(tensor.channels) for tensor in tensors}
    for index, feeds in enumerate(data):
        for tensor, array in zip(tensors, run(fetched, feeds), strict=True):
            expected[tensor.key].observe(Observation.of(array, tensor.channel_axis), 2 * index)
    assert len(tensors) == 3
    for key, sketch in expected.items():
        seen = calibration.statistics.sketches[key]
        assert (seen.samples, seen.count) == (6, sketch.count)
        # fused and separate float kernels differ in the last bits of values around 1
        np.testing.assert_allclose(seen.channel_high, sketch.channel_high, atol=1e-5)
        np.testing.assert_allclose(seen.points()[0], sketch.points()[0], atol=1e-5)
        np.testing.assert_allclose(seen.channel_mean, sketch.channel_mean, atol=1e-5)


def test_the_model_is_not_modified() -> None:
    model, plan = prepared()
    before = ir.to_bytes(model)
    collect(model, plan, images(2), options=ONE)
    assert ir.to_bytes(model) == before


def test_first_outputs_are_kept_and_are_the_float_models_own() -> None:
    model, plan = prepared()
    data = images(3)
    calibration = collect(model, plan, data, options=ONE)
    assert len(calibration.feeds) == len(calibration.outputs) == 3
    for feeds, outputs in zip(data, calibration.outputs, strict=True):
        np.testing.assert_allclose(outputs[0], run(model, feeds)[0], atol=1e-5)  # optimized against plain
    kept, again = keep(model, data, ONE)
    assert [feeds["x"].tobytes() for feeds in kept] == [feeds["x"].tobytes() for feeds in data]
    assert len(again) == 3


@pytest.mark.parametrize("batch", [1, 4])
def test_only_the_first_feeds_stay_in_memory(batch: int) -> None:
    """However long the data are, memory stays as it is: feeds die as soon as the next ones are asked for."""
    model, plan = prepared()
    alive: list[weakref.ref[np.ndarray]] = []
    most = 0

    def endless() -> Iterator[Feeds]:
        nonlocal most
        for index in range(100):
            array = np.random.default_rng(index).standard_normal((batch, 3, 16, 16)).astype(np.float32)
            alive.append(weakref.ref(array))
            yield {"x": array}
            del array
            most = max(most, sum(ref() is not None for ref in alive))

    calibration = collect(model, plan, endless(), options=ONE)
    assert calibration.statistics.samples == 100 * batch
    assert len(calibration.feeds) == MOST_KEPT < 100
    assert most <= MOST_KEPT + 1  # and the one that the loop still holds
    del calibration
    gc.collect()
    assert sum(ref() is not None for ref in alive) == 0


def test_large_feeds_are_kept_up_to_a_size() -> None:
    text = "net (float[N,3,H,W] x) => (float[N,8,P,Q] y) { y = Conv<strides = [64,64]>(x, w1, b1) }"
    model, plan = prepared(text)
    data = ({"x": np.zeros((1, 3, 2048, 1024), np.float32) + index} for index in range(6))  # 24 MiB each
    calibration = collect(model, plan, data, options=ONE)
    assert calibration.statistics.samples == 6
    assert len(calibration.feeds) == 3  # the third goes beyond 64 MiB


def test_progress_counts_batches() -> None:
    model, plan = prepared()
    seen: list[int] = []
    collect(model, plan, images(6, batch=2), options=ONE, progress=seen.append)
    assert seen == [1, 1, 1]


def test_no_data_is_an_error() -> None:
    model, plan = prepared()
    with pytest.raises(CalibrationError, match=r"the calibration data is empty\. Pass at least one sample"):
        collect(model, plan, [], options=ONE)


@pytest.mark.parametrize("batch", [1, 4, 16])
@pytest.mark.parametrize("kind", ["NaN", "infinite values"])
def test_bad_value_names_tensor_and_sample(kind: str, batch: int) -> None:
    function, wild = {"NaN": ("Sqrt", -100.0), "infinite values": ("Exp", 1000.0)}[kind]
    text = f"""net (float[N,3,16,16] x) => (float[N,8,16,16] y) {{
      bent = {function}(x)
      y = Conv<pads = [1,1,1,1]>(bent, w1, b1)
    }}"""
    model, plan = prepared(text)
    x = np.abs(np.concatenate([feeds["x"] for feeds in images(16)]))
    x[11, 1, 4, 4] = wild
    data = [{"x": x[start : start + batch]} for start in range(0, 16, batch)]
    with pytest.raises(CalibrationError, match=f"tensor 'bent': sample 11 has {kind}"):
        collect(model, plan, data, options=ONE)


def test_error_of_the_data_comes_through_unchanged() -> None:
    model, plan = prepared()

    def broken() -> Iterator[Feeds]:
        yield from images(2)
        raise OSError("the disk went away")

    with pytest.raises(OSError, match="the disk went away"):
        collect(model, plan, broken(), options=ONE)


def test_shapes_are_remembered_where_all_batches_agree() -> None:
    model, plan = prepared()
    assert collect(model, plan, images(4, batch=2), options=ONE).statistics.shapes == {"x": (2, 3, 16, 16)}
    mixed = [*images(4, batch=2), *images(1)]
    assert collect(model, plan, mixed, options=ONE).statistics.shapes == {"x": None}


def test_rows_that_belong_to_one_sample_stay_together() -> None:
    """A reshape that moves positions into the leading axis must not turn positions into samples."""
    text = """net (float[N,3,16,16] x) => (float[M,16] y) {
      shape = Constant<value_ints = [-1, 16]>()
      rows = Reshape(x, shape)
      y = MatMul(rows, m)
    }"""
    model, plan = prepared(text, m=(16, 16))
    statistics = collect(model, plan, images(6, batch=2), options=ONE).statistics
    (sketch,) = statistics.sketches.values()
    assert statistics.samples == sketch.samples == 6
    assert sketch.count == 6 * 3 * 16 * 16


def test_sample_numbers_go_on_over_batches_of_any_size() -> None:
    model, plan = prepared()
    x = np.concatenate([feeds["x"] for feeds in images(12)])
    x[10] *= 1000
    data = [{"x": x[:5]}, {"x": x[5:6]}, {"x": x[6:]}]
    statistics = collect(model, plan, data, options=ONE).statistics
    _, outliers = statistics.usable()
    assert {outlier.sample for found in outliers.values() for outlier in found} == {10}


def test_scalars_do_not_count_for_the_batch_size() -> None:
    assert batch_size({"x": np.zeros((4, 3)), "gain": np.float32(1).reshape(())}) == 4
    assert batch_size({"x": np.zeros((4, 3)), "flag": np.zeros(1)}) == 4
    assert batch_size({"x": np.zeros((4, 3)), "y": np.zeros((5, 3))}) == 1
    assert batch_size({"x": np.zeros((1, 3)), "table": np.zeros((5, 3))}) == 1
    assert batch_size({}) == 1


def test_wild_samples_are_replaced_within_their_batch() -> None:
    x = np.arange(9.0).reshape(9, 1)
    batches = ({"x": x[:4]}, {"x": x[4:8], "gain": np.array(2.0)}, {"x": x[8:]})
    one, two = without_samples(batches, {4, 6, 8})
    assert one is batches[0]
    np.testing.assert_array_equal(two["x"], [[5], [5], [5], [7]])
    assert two["gain"] == 2
    np.testing.assert_array_equal(batches[1]["x"], x[4:8])


def test_wild_samples_stay_when_there_is_nothing_else() -> None:
    batches = ({"x": np.array([1.0])},)
    assert without_samples(batches, {0}) == batches
