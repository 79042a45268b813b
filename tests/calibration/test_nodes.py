"""Bypass nodes: one a tensor, invisible to the model's results, and exact in what they reduce."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from small_nets import DYNAMIC_IMAGE, images, net

from amct_lite import ir
from amct_lite.calibration.nodes import DOMAIN, OUTPUTS, SUBSET, Tap, insert, remove, subset_of
from amct_lite.numerics.sketch import Observation, Sketch
from amct_lite.runtime import RuntimeOptions, open_session, optimized

TWO_READERS = """net (float[N,3,16,16] x) => (float[N,8,16,16] y, float[N,3,16,16] z) {
  [first] a = Conv<pads = [1,1,1,1]>(x, w1, b1)
  [second] b = Conv<pads = [1,1,1,1]>(x, v1, b1)
  y = Add(a, b)
  [float] z = Relu(x)
}"""
X = Tap("x", 1, 3)
READERS = frozenset({("first", 0), ("second", 0)})


def two_readers(opset: int = 17) -> ir.Model:
    return ir.load_bytes(net(TWO_READERS, opset=opset, v1=(8, 3, 3, 3)).SerializeToString())


def observed(model: ir.Model, tap: Tap, reader: tuple[str, int], x: np.ndarray, subset: int = SUBSET) -> Observation:
    """What the bypass node in front of `reader` says about `x`."""
    names = insert(model, (tap,), frozenset({reader}), subset)
    values, low, high, mean, count = open_session(model, RuntimeOptions(threads=1)).run({"x": x}, names)
    return Observation(values, int(count) // len(low), low, high, mean)


def test_one_node_a_tensor_however_many_layers_read_it() -> None:
    model = two_readers()
    names = insert(model, (X,), READERS)
    (node,) = [node for node in model.graph if node.domain == DOMAIN]
    assert len(names) == len(OUTPUTS)
    assert {use.node.name for use in ir.uses(node.outputs[0])} == {"first", "second"}


def test_readers_that_are_not_quantized_stay_where_they_were() -> None:
    model = two_readers()
    insert(model, (X,), READERS)
    relu = next(node for node in model.graph if node.name == "float")
    assert relu.inputs[0] is model.graph.inputs[0]


def test_every_output_is_computed() -> None:
    """Also where all sizes are known and ONNX Runtime folds constants: OpenVINO has no place for an output that is one."""
    model = ir.load_bytes(net(TWO_READERS.replace("[N,", "[1,"), v1=(8, 3, 3, 3)).SerializeToString())
    insert(model, (X,), READERS)
    outputs = optimized(model, RuntimeOptions(threads=1)).graph.outputs
    assert len(outputs) == len(OUTPUTS) + 2
    assert all(output.producer() is not None for output in outputs)


@pytest.mark.parametrize("opset", [13, 17, 18, 21])
def test_stock_onnxruntime_gives_the_same_outputs(opset: int) -> None:
    model = two_readers(opset)
    x = images(2, batch=2)[0]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    expected = onnxruntime.InferenceSession(ir.to_bytes(model), options).run(None, x)
    names = insert(model, (X,), READERS)
    session = onnxruntime.InferenceSession(ir.to_bytes(model), options)
    assert [output.name for output in session.get_outputs()] == ["y", "z", *names]
    for got, want in zip(session.run(["y", "z"], x), expected, strict=True):
        np.testing.assert_array_equal(got, want)


def test_remove_restores_the_graph() -> None:
    model = two_readers()
    before = ir.to_bytes(model)
    insert(model, (X,), READERS)
    assert remove(model) == 1
    assert ir.to_bytes(model) == before
    assert remove(model) == 0


@pytest.mark.parametrize(
    ("axis", "channels", "shape"),
    [
        (1, 3, (4, 3, 5, 7)),
        (-1, 6, (4, 5, 6)),
        (-1, 6, (4, 6)),
        (None, 1, (4, 3, 2)),
        (1, 3, (1, 3, 9)),
        (1, 3, (2, 3, 2, 2, 2)),
    ],
)
@pytest.mark.parametrize("opset", [13, 18])
@pytest.mark.parametrize("static", [True, False])
def test_small_tensors_are_seen_whole(
    axis: int | None, channels: int, shape: tuple[int, ...], opset: int, static: bool
) -> None:
    dims = ",".join(["N", *(map(str, shape[1:]) if static else "ABCD"[: len(shape) - 1])])
    text = f"net (float[{dims}] x) => (float[{dims}] y) {{ [r] y = Relu(x) }}"
    model = ir.load_bytes(net(text, opset=opset).SerializeToString())
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    got, expected = observed(model, Tap("x", axis, channels), ("r", 0), x), Observation.of(x, axis)
    for name in ("values", "count", "low", "high"):
        np.testing.assert_array_equal(getattr(got, name), getattr(expected, name), err_msg=name)
    # the graph adds in float32, Observation.of in float64; a few dozen values of size 1
    np.testing.assert_allclose(got.mean, expected.mean, atol=1e-6)
    sketches = [Sketch(channels), Sketch(channels)]
    for sketch, seen in zip(sketches, (got, expected), strict=True):
        sketch.observe(seen, 0)
    for left, right in zip(sketches[0].points(), sketches[1].points(), strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize(
    ("node", "lowest"),
    [
        ("Relu(x)", 0.0),
        ("Clip(x, zero, six)", 0.0),
        ("Sigmoid(x)", 0.0),
        ("Clip(x, minus, six)", -1.0),
        ("Clip(x, , six)", -3.0),
        ("LeakyRelu(x)", -0.03),
    ],
)
def test_zero_stands_for_the_smallest_value_only_of_what_cannot_be_negative(node: str, lowest: float) -> None:
    model = ir.load_bytes(
        net(
            f"""net (float[1,3,4,4] x) => (float[1,3,4,4] y)
            <float zero = {{0}}, float six = {{6}}, float minus = {{-1}}> {{ h = {node}  [reader] y = Neg(h) }}"""
        ).SerializeToString()
    )
    ir.infer_shapes(model)
    x = np.linspace(-3, 9, 48, dtype=np.float32).reshape(1, 3, 4, 4)
    seen = observed(model, Tap("h", 1, 3), ("reader", 0), x)
    assert seen.low[0, 0] == pytest.approx(lowest)
    assert (seen.low <= seen.values.reshape(3, 16).min(axis=1)).all()


@pytest.mark.parametrize("static", [True, False])
def test_large_tensors_are_thinned_but_their_extremes_and_means_are_exact(static: bool) -> None:
    text = "net (float[1,64,112,112] x) => (float[1,64,112,112] y) { [r] y = Relu(x) }"
    if not static:
        text = text.replace("[1,64,112,112]", DYNAMIC_IMAGE)
    model = ir.load_bytes(net(text).SerializeToString())
    x = np.random.default_rng(0).standard_normal((1, 64, 112, 112)).astype(np.float32)
    x[0, 63, 111, 110] = 77.0
    x[0, 5, 3, 1] = -55.0
    seen, whole = observed(model, Tap("x", 1, 64), ("r", 0), x), Observation.of(x, 1)
    assert SUBSET // 2 < seen.values.size <= 2 * SUBSET
    assert seen.count == x.size
    np.testing.assert_array_equal(seen.low, whole.low)
    np.testing.assert_array_equal(seen.high, whole.high)
    np.testing.assert_allclose(seen.mean, whole.mean, atol=1e-6)
    # the subset is spread over all channels: its standard deviation is that of the whole within 3 sigma, 1/sqrt(2m)
    assert seen.values.std() == pytest.approx(x.std(), abs=3 / np.sqrt(2 * seen.values.size))


@pytest.mark.parametrize(
    ("samples", "values"),
    [(None, 32768), (1, 32768), (16, 32768), (17, 16384), (32, 16384), (64, 8192), (100, 4096), (10**9, 4096)],
)
def test_the_more_samples_the_fewer_values_of_each(samples: int | None, values: int) -> None:
    assert subset_of(samples) == values


@pytest.mark.parametrize("static", [True, False])
def test_large_tensors_are_thinned_to_the_subset_asked_for(static: bool) -> None:
    text = "net (float[1,64,112,112] x) => (float[1,64,112,112] y) { [r] y = Relu(x) }"
    if not static:
        text = text.replace("[1,64,112,112]", DYNAMIC_IMAGE)
    model = ir.load_bytes(net(text).SerializeToString())
    seen = observed(model, Tap("x", 1, 64), ("r", 0), np.ones((1, 64, 112, 112), dtype=np.float32), subset=4096)
    assert 2048 < seen.values.size <= 8192


def test_thinning_sees_every_channel() -> None:
    """A stride that shares a factor with the width would look at a few columns only; here each channel is a constant."""
    text = "net (float[1,64,112,112] x) => (float[1,64,112,112] y) { [r] y = Relu(x) }"
    x = np.broadcast_to(np.arange(64, dtype=np.float32)[None, :, None, None], (1, 64, 112, 112)).copy()
    seen = observed(ir.load_bytes(net(text).SerializeToString()), Tap("x", 1, 64), ("r", 0), x)
    counts = np.bincount(seen.values.astype(int).ravel(), minlength=64)
    assert counts.min() > 0.8 * counts.mean()


def test_columns_are_seen_alike() -> None:
    text = "net (float[1,64,112,112] x) => (float[1,64,112,112] y) { [r] y = Relu(x) }"
    x = np.broadcast_to(np.arange(112, dtype=np.float32), (1, 64, 112, 112)).copy()
    seen = observed(ir.load_bytes(net(text).SerializeToString()), Tap("x", 1, 64), ("r", 0), x)
    counts = np.bincount(seen.values.astype(int).ravel(), minlength=112)
    assert counts.min() > 0.8 * counts.mean()


def test_samples_of_a_batch_are_thinned_alike() -> None:
    text = "net (float[N,8,96,96] x) => (float[N,8,96,96] y) { [r] y = Relu(x) }"
    x = np.random.default_rng(0).standard_normal((3, 8, 96, 96)).astype(np.float32)
    together = observed(ir.load_bytes(net(text).SerializeToString()), Tap("x", 1, 8), ("r", 0), x)
    for sample in range(3):
        alone = observed(ir.load_bytes(net(text).SerializeToString()), Tap("x", 1, 8), ("r", 0), x[sample : sample + 1])
        np.testing.assert_array_equal(together.values[sample], alone.values[0])
        np.testing.assert_array_equal(together.high[sample], alone.high[0])
