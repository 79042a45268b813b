"""The analytic shift of a layer's output means, against the means themselves."""

import numpy as np
import pytest
from integer_reference import conv, conv_transpose
from layer_cases import BY_ID, layer_node, named, weight_of
from onnx_check import full_check
from passes.graphs import feeds_for, parse

from amct_lite import ir
from amct_lite.correction.analytic import correct_bias, mean_shift
from amct_lite.exporters.integers import quantized_layers
from amct_lite.numerics.sketch import Observation, Sketch
from amct_lite.types import LayerRecord, QParams, QuantRecord

COARSE = 0.31
"""A weight scale for random normal weights: rounding them is a plain error in every channel."""


def sketch_of(array: np.ndarray, axis: int) -> Sketch:
    sketch = Sketch(array.shape[axis])
    sketch.observe(Observation.of(array, axis), 0)
    return sketch


def record_of(model: ir.Model) -> QuantRecord:
    return QuantRecord((LayerRecord(str(layer_node(model).name), QParams.of(0.02, 5), QParams.of(COARSE, 0)),))


def shift_of(model: ir.Model, data: np.ndarray, axis: int) -> np.ndarray:
    (item,) = quantized_layers(model, record_of(model))
    shift = mean_shift(item, {("x", axis): sketch_of(data, axis)}, item.layer.weight_array)
    assert not isinstance(shift, str), shift
    return shift


def weight_error(case_id: str, model: ir.Model) -> np.ndarray:
    weight = weight_of(BY_ID[case_id], model).astype(np.float64)
    return np.clip(np.rint(weight / np.float32(COARSE)), -128, 127) * np.float64(np.float32(COARSE)) - weight


@pytest.mark.parametrize(
    ("case_id", "arguments"),
    [
        ("conv1d", {"strides": [2], "pads": [1, 1]}),
        ("conv2d", {}),
        ("conv2d_asymmetric_pads", {"strides": [2, 2], "pads": [0, 2, 1, 1]}),
        ("conv2d_dilated", {"dilations": [2, 2]}),
        ("conv2d_group", {"group": 2, "pads": [1] * 4}),
        ("conv2d_depthwise", {"group": 6, "pads": [1] * 4}),
        ("conv2d_depthwise_multiplier", {"group": 3}),
        ("conv3d", {}),
    ],
)
def test_shift_of_a_convolution_is_exact_for_even_channels(case_id: str, arguments: dict) -> None:
    """Where a channel is the same everywhere, the mean of the error is the formula, the share of padding included."""
    model = BY_ID[case_id].model()
    shape = ir.dims_of(model.graph.inputs[0])
    levels = np.random.default_rng(1).normal(size=(shape[0], shape[1])).astype(np.float32)
    data = np.broadcast_to(levels.reshape(*levels.shape, *[1] * (len(shape) - 2)), shape).astype(np.float32)
    brute = conv(data.astype(np.float64), weight_error(case_id, model), **arguments)
    expected = np.moveaxis(brute, 1, 0).reshape(brute.shape[1], -1).mean(axis=1)
    # means are kept as float32 and in units of 2^-24 of the largest
    np.testing.assert_allclose(shift_of(model, data, 1), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_shift_of_a_convolution_on_random_data() -> None:
    text = "g (float[64,3,12,12] x, float[5,3,3,3] w) => (float[64,5,12,12] y) { y = Conv <pads = [1, 1, 1, 1]> (x, w) }"
    model = named(parse(text, "w"))
    data = np.random.default_rng(2).gamma(2, size=(64, 3, 12, 12)).astype(np.float32)
    brute = conv(data.astype(np.float64), weight_error("conv2d", model), pads=[1] * 4)
    expected = brute.mean(axis=(0, 2, 3))
    # 9,216 positions, each off by noise of the size of the shift or so: 1 in 100
    np.testing.assert_allclose(shift_of(model, data, 1), expected, rtol=0, atol=0.02 * np.abs(expected).max())


@pytest.mark.parametrize("group", [1, 2])
@pytest.mark.parametrize(
    ("kernel", "tolerance"),
    [(2, 1e-5), (3, 0.15)],  # 3: the border of a (33, 33) output is reached less often than the formula assumes
)
def test_shift_of_a_transposed_convolution(kernel: int, tolerance: float, group: int) -> None:
    out = 2 * 15 + kernel
    text = (
        f"g (float[2,4,16,16] x, float[4,3,{kernel},{kernel}] w) => (float[2,{3 * group},{out},{out}] y)"
        f" {{ y = ConvTranspose <strides = [2, 2], group = {group}> (x, w) }}"
    )
    model = named(parse(text, "w"))
    levels = np.array([1.0, 2.0, 0.5, 1.5], np.float32).reshape(1, 4, 1, 1)
    data = np.broadcast_to(levels, (2, 4, 16, 16)).astype(np.float32)
    brute = conv_transpose(data.astype(np.float64), weight_error("deconv", model), strides=[2, 2], group=group)
    expected = brute.mean(axis=(0, 2, 3))
    np.testing.assert_allclose(shift_of(model, data, 1), expected, rtol=0, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize("case_id", ["gemm", "gemm_trans_b", "gemm_no_bias", "matmul_bias", "matmul_bias_first"])
def test_shift_of_a_product_is_exact(case_id: str) -> None:
    model = BY_ID[case_id].model()
    data = feeds_for(model)["x"] + np.float32(1)
    expected = (data.astype(np.float64) @ weight_error(case_id, model)).reshape(-1, 5).mean(axis=0)
    np.testing.assert_allclose(shift_of(model, data, -1), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_the_shift_is_taken_off_the_bias() -> None:
    model = BY_ID["conv2d"].model()
    data = feeds_for(model)["x"] + np.float32(1)
    result = correct_bias(model, record_of(model), {("x", 1): sketch_of(data, 1)})
    before, after = (ir.constant_of(layer_node(m).inputs[2]) for m in (model, result.model))
    np.testing.assert_allclose(after, before - shift_of(model, data, 1), rtol=1e-6)
    assert (result.layers, result.skips) == (("Conv_0",), ())


@pytest.mark.parametrize("case_id", ["conv2d_no_bias", "gemm_no_bias", "deconv_output_padding"])
def test_a_layer_without_bias_gets_one(case_id: str) -> None:
    model = BY_ID[case_id].model()
    axis = 1 if "conv" in case_id else -1
    data = feeds_for(model)["x"] + np.float32(1)
    corrected = correct_bias(model, record_of(model), {("x", axis): sketch_of(data, axis)}).model
    np.testing.assert_allclose(ir.constant_of(layer_node(corrected).inputs[2]), -shift_of(model, data, axis), rtol=1e-6)
    full_check(corrected)


@pytest.mark.parametrize(
    ("case_id", "axis", "reason"),
    [
        ("matmul", -1, "there is none to correct"),
        ("matmul_left", None, "there is none to correct"),
        ("conv2d", None, "the calibration has no means of its input channels"),
    ],
)
def test_a_layer_that_cannot_be_corrected_is_skipped_with_a_reason(case_id: str, axis: int | None, reason: str) -> None:
    model = BY_ID[case_id].model()
    known = {} if axis is None else {("x", axis): sketch_of(feeds_for(model)["x"], axis)}
    result = correct_bias(model, record_of(model), known)
    assert [(skip.node, skip.reason) for skip in result.skips] == [(layer_node(model).name, f"no bias correction: {reason}")]
    assert result.layers == ()
    assert ir.to_bytes(result.model) == ir.to_bytes(model)


def test_a_bias_that_two_layers_share_is_corrected_for_each() -> None:
    model = named(
        parse(
            "g (float[1,3,5,5] x, float[3,3,3,3] w, float[3,3,3,3] w2, float[3] b) => (float[1,3,3,3] y, float[1,3,3,3] z)"
            " { y = Conv (x, w, b) z = Conv (x, w2, b) }",
            "w w2 b",
        )
    )
    entry = (QParams.of(0.02, 5), QParams.of(COARSE, 0))
    record = QuantRecord((LayerRecord("Conv_0", *entry), LayerRecord("Conv_1", *entry)))
    corrected = correct_bias(model, record, {("x", 1): sketch_of(feeds_for(model)["x"] + np.float32(1), 1)}).model
    first, second = (ir.constant_of(node.inputs[2]) for node in corrected.graph)
    assert not np.allclose(first, second)
    np.testing.assert_array_equal(*(ir.constant_of(node.inputs[2]) for node in model.graph))
