"""What onnxruntime.quantization writes is taken: static QDQ models, in all its common settings."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from small_nets import FOUR_CONVS, ONE_THREAD, images, net, run, saved

from amct_lite.config import QuantConfig
from amct_lite.converting import convert_qdq

SETTINGS = [
    pytest.param({"per_channel": True}, id="uint8 data, int8 weights per channel"),
    pytest.param({"per_channel": False}, id="a scale a tensor"),
    pytest.param({"per_channel": True, "activation": "QInt8"}, id="int8 data"),
    pytest.param({"activation": "QInt8", "extra_options": {"ActivationSymmetric": True}}, id="symmetric"),
    pytest.param({"extra_options": {"QuantizeBias": False}}, id="float biases"),
    pytest.param({"extra_options": {"AddQDQPairToWeight": True}}, id="float weights with Q and DQ"),
    pytest.param({"extra_options": {"DedicatedQDQPair": True}}, id="a pair for each reader"),
]


class Reader:
    def __init__(self) -> None:
        self._feeds = iter(images(4))

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._feeds, None)


def quantized(
    folder: Path, per_channel: bool = False, activation: str = "QUInt8", weight: str = "QInt8", **more: object
) -> Path:
    pytest.importorskip("sympy")
    quantization = pytest.importorskip("onnxruntime.quantization")
    result = folder / "qdq.onnx"
    quantization.quantize_static(
        saved(net(FOUR_CONVS), folder, "float.onnx"),
        result,
        Reader(),
        quant_format=quantization.QuantFormat.QDQ,
        per_channel=per_channel,
        activation_type=quantization.QuantType[activation],
        weight_type=quantization.QuantType[weight],
        **more,
    )
    return result


@pytest.mark.parametrize("settings", SETTINGS)
def test_all_layers_are_taken_and_compute_the_same(settings, tmp_path):
    path = quantized(tmp_path, **settings)
    result = convert_qdq(path, config=QuantConfig(input_shapes={"x": (1, 3, 16, 16)}), options=ONE_THREAD)
    assert [layer.key for layer in result.record.layers] == ["conv1", "conv2", "conv3", "conv4", "add:0", "add:1"]
    assert result.exports.deploy is not None
    assert [skip.reason for skip in result.report.skips] == [
        "left out: the output 'y' reads values that are limited, but not rounded, now"
    ]
    for feeds in images(3, seed=5):
        expected, found = run(path, feeds)[0], run(result.exports.fake_quant, feeds)[0]
        step = np.diff(np.unique(expected)).min()
        # The output is not rounded, so half a step. Rounding a float bias to int32 may change a code on the way there.
        allowed = 1.0 if "QuantizeBias" in settings.get("extra_options", {}) else 0.501
        assert np.abs(expected - found).max() <= allowed * step


def test_uint8_weights_stay_in_float_unless_their_zero_point_is_128(tmp_path):
    path = quantized(tmp_path, weight="QUInt8")
    result = convert_qdq(path, config=QuantConfig(target="generic"), options=ONE_THREAD)
    reasons = {skip.node: skip.reason for skip in result.report.skips if skip.op_type == "Conv"}
    assert reasons
    assert all(
        re.fullmatch(r"its uint8 weight has zero point \d+, which must be 128: .*", reason) for reason in reasons.values()
    )
    assert len(reasons) + sum(not layer.tensor_quantize for layer in result.record.layers) == 4
    for feeds in images(3, seed=5):
        expected, found = run(path, feeds)[0], run(result.exports.fake_quant, feeds)[0]
        assert np.abs(expected - found).max() <= 3 * np.diff(np.unique(expected)).min(), "layers in float round nothing"
