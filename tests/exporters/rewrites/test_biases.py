"""The bias of a MatMul on integers is added by its kernel."""

from __future__ import annotations

import numpy as np
import pytest
from small_nets import ONE_THREAD, kernels, net, require_alike

from amct_lite import ir
from amct_lite.config import QuantConfig
from amct_lite.pipeline import quantize
from amct_lite.result import QuantizeResult

TEXT = """net (float[BATCH,6,16] x) => (float[BATCH,6,8] y) {
  [product] a = MatMul (x, w) [bias] b = Add (SUM) BEHIND }"""
END = "[gelu] y = Tanh (b)"
THROUGH = "[relu] c = Relu (b) [last] y = MatMul (c, wl)"


def samples() -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    return [{"x": rng.standard_normal((1, 6, 16)).astype(np.float32)} for _ in range(8)]


def quantized(
    batch: str = "N", total: str = "a, v", behind: str = END, per_channel: str = "all", **values: object
) -> QuantizeResult:
    text = TEXT.replace("BATCH", batch).replace("SUM", total).replace("BEHIND", behind)
    shapes = {"w": (16, 8), "wl": (8, 8), "v": (8,)} | values
    model = net(text, **{name: value for name, value in shapes.items() if name in text})
    config = QuantConfig(target="ort", per_channel=per_channel)
    return quantize(ir.load_bytes(model.SerializeToString()), samples(), config, options=ONE_THREAD)


@pytest.mark.parametrize("batch", ["1", "N"])
@pytest.mark.parametrize("total", ["a, v", "v, a"])
@pytest.mark.parametrize("per_channel", ["all", "none"])
def test_product_and_bias_are_one_kernel(batch: str, total: str, per_channel: str) -> None:
    result = quantized(batch, total, per_channel=per_channel)
    found = kernels(result)
    assert (found["MatMulIntegerToFloat"], found["Add"]) == (1, 0)
    assert result.exports.deploy is not None
    assert result.exports.deploy.opset_imports["com.microsoft"] == 1
    assert result.report.kernels is not None
    assert (result.report.kernels.layers, result.report.kernels.integer) == (1, 1)
    require_alike(result.exports, samples()[:2], 60)


@pytest.mark.parametrize("batch", ["1", "N"])
def test_so_they_are_where_the_results_are_rounded(batch: str) -> None:
    result = quantized(batch, behind=THROUGH)
    found = kernels(result)
    assert (found["MatMulIntegerToFloat"], found["Add"], found["Relu"]) == (2, 0, 0)
    require_alike(result.exports, samples()[:2], 60)


@pytest.mark.parametrize(
    ("behind", "values"),
    [
        pytest.param("[gelu] t = Tanh (b) z = Neg (a) [both] y = Add (z, t)", {}, id="read twice"),
        pytest.param(END, {"v": (6, 8)}, id="a row each"),
    ],
)
def test_what_the_kernel_cannot_add_is_added_behind(behind: str, values: dict[str, object]) -> None:
    found = kernels(quantized(behind=behind, **values))
    assert found["MatMulIntegerToFloat"] == 1
    assert found["Add"] == behind.count("Add") + 1
