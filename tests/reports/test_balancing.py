"""The remedy for a layer of which a few input channels are far larger than the others."""

from __future__ import annotations

import numpy as np
import onnx_ir
from small_nets import ONE_THREAD, images, net

import amct_lite as amct

ONE_LAYER = """net (float[N,3,16,16] x) => (float[N,8,16,16] y) {
  [conv] y = Conv(x, w)
}"""


def _warnings(larger: float, **settings: object) -> tuple[str, ...]:
    """Of the layer of a 1×1 convolution of which one channel is `larger` times as large, and its weights as much smaller."""
    scales = np.array([larger, 1, 1], np.float32)
    weight = np.random.default_rng(1).standard_normal((8, 3, 1, 1)).astype(np.float32) / scales[:, None, None]
    model = onnx_ir.from_proto(net(ONE_LAYER, w=weight))
    feeds = [{"x": batch["x"] * scales[:, None, None]} for batch in images(8)]
    warnings = amct.quantize(model, feeds, amct.QuantConfig(**settings), options=ONE_THREAD).report.warnings
    return tuple(warning for warning in warnings if not warning.startswith("output y: the error is"))


def test_balancing_is_offered_where_it_helps_and_does() -> None:
    (warning,) = _warnings(300.0)
    assert warning.startswith("conv: quantization alone")
    assert "or try balancing, as some of its input channels are far larger than the others (--balance), " in warning
    assert not _warnings(300.0, balance=0.5)


def test_balancing_is_not_offered_where_channels_are_alike() -> None:
    (warning,) = _warnings(1.0, algorithm="percentile", options={"percentile": 95.0})  # clips a lot
    assert warning.startswith("conv: quantization alone")
    assert "--balance" not in warning


def test_for_onnx_runtime_it_is_offered_where_the_factors_can_be_folded_alone() -> None:
    """Its kernels would round what a Mul in front reads."""
    (warning,) = _warnings(300.0, target="ort", fallback=0)
    assert "--balance" not in warning
