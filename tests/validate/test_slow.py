"""Which nodes are known to be slow on integers, and that a run and `explain` say so."""

from __future__ import annotations

import pytest
from small_nets import ONE_THREAD, images, net

from amct_lite import ir
from amct_lite.cli.explain_table import print_explanation
from amct_lite.config import QuantConfig
from amct_lite.diagnosis.explain import explain
from amct_lite.exporters.pairs import is_rounded
from amct_lite.pipeline import quantize
from amct_lite.result import QuantizeResult
from amct_lite.validate.slow import slow_kernels

ORT = QuantConfig(target="ort", per_channel="none", bias_correction="none")
POOLED = """net (float[N,3,16,16] x) => (float[N,4,H,W] y) {
  [c1] a = Conv <pads=[1,1,1,1]> (x, w1) [relu] r = Relu (a) [pool] b = AveragePool <HOW> (r) [c2] y = Conv (b, w2) }"""
SQUARE = {"w1": (16, 3, 3, 3), "w2": (4, 16, 1, 1)}


def exported(text: str, **weights: object) -> QuantizeResult:
    return quantize(ir.load_bytes(net(text, **weights).SerializeToString()), images(4), ORT, options=ONE_THREAD)


@pytest.mark.parametrize(
    ("how", "slow"),
    [
        ("kernel_shape=[2,2], strides=[2,2]", False),
        ("kernel_shape=[3,3], pads=[1,1,1,1], count_include_pad=1", False),
        ("kernel_shape=[16,16]", False),
        ("kernel_shape=[16,16], ceil_mode=1", False),
        ("kernel_shape=[3,3], pads=[1,1,1,1]", True),
        ("kernel_shape=[3,3], strides=[2,2], ceil_mode=1", True),
        ('kernel_shape=[3,3], auto_pad="SAME_UPPER"', True),
        ('kernel_shape=[3,3], auto_pad="VALID"', False),
    ],
)
def test_a_pool_of_unequal_windows_is_slow(how: str, slow: bool) -> None:
    result = exported(POOLED.replace("HOW", how), **SQUARE)
    assert result.exports.deploy is not None
    assert [(skip.node, skip.op_type) for skip in slow_kernels(result.exports.deploy)] == [("pool", "AveragePool")] * slow
    notes = [note for note in result.report.notes if "pool (AveragePool): ONNX Runtime's integer kernel" in note]
    assert len(notes) == slow
    assert all("calibrate --target ort --tune" in note for note in notes)


def test_a_float_model_has_none() -> None:
    pooled = POOLED.replace("HOW", "kernel_shape=[3,3], pads=[1,1,1,1]")
    assert slow_kernels(ir.load_bytes(net(pooled, **SQUARE).SerializeToString())) == ()


@pytest.mark.parametrize(
    ("how", "slow"),
    [
        ("kernel_shape=[2,2], strides=[2,2]", False),
        ("kernel_shape=[3,3], pads=[1,1,1,1], count_include_pad=1", False),
        ("kernel_shape=[3,3], pads=[1,1,1,1]", True),
    ],
)
def test_a_pool_of_equal_windows_is_not_called_unequal_where_it_is_still_a_pool(how: str, slow: bool) -> None:
    model = ir.clone(exported(POOLED.replace("HOW", how), **SQUARE).exports.fake_quant)
    ir.infer_shapes(model)
    assert [skip.node for skip in slow_kernels(model)] == ["pool"] * slow


def test_a_pool_of_floats_is_none_though_its_result_is_rounded() -> None:
    text = """net (float[N,3,16,16] x) => (float[N,4,16,16] y) {
      [pool] a = AveragePool <kernel_shape=[3,3], pads=[1,1,1,1]> (x) [c2] y = Conv (a, w2) }"""
    result = exported(text, w2=(4, 3, 1, 1))
    pool = next(node for node in result.exports.fake_quant.graph if node.op_type == "AveragePool")
    assert is_rounded(pool.outputs[0])
    assert slow_kernels(result.exports.fake_quant) == ()


def test_explain_names_them_with_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    result = exported(POOLED.replace("HOW", "kernel_shape=[3,3], pads=[1,1,1,1]"), **SQUARE)
    assert result.exports.deploy is not None
    print_explanation(explain(result.exports.deploy, input_shapes={"x": (1, 3, 16, 16)}, options=ONE_THREAD.runtime))
    assert "slow on integers: pool (AveragePool): its windows are not all of one size" in capsys.readouterr().out
