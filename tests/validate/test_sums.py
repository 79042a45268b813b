"""The accumulators of a layer in their two executable forms: on integers, and in float32 where that is exact."""

import numpy as np
import pytest
from layer_cases import CASES, Case, named, record_for
from passes.graphs import feeds_for, parse
from small_nets import run

from amct_lite import ir
from amct_lite.exporters import ascend
from amct_lite.types import LayerRecord, QParams, QuantRecord
from amct_lite.validate import sums
from amct_lite.validate.lowering import lower

CONVOLUTIONS = [case for case in CASES if "= Conv" in case.text and not case.refused]


def operators(deploy: ir.Model) -> list[str]:
    return [node.op_type for node in lower(deploy).model.graph if node.op_type.startswith("Conv")]


def accumulators(deploy: ir.Model, feeds: dict[str, np.ndarray]) -> np.ndarray:
    lowered = lower(deploy)
    names = [str(value.name) for value in lowered.model.graph.outputs]
    return run(lowered.model, feeds)[names.index(lowered.layers[0].accumulators)]


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("case", CONVOLUTIONS, ids=lambda case: case.id)
def test_both_forms_agree_to_the_last_bit(case: Case, bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model = case.model()
    feeds = feeds_for(model, seed=3)
    deploy = ascend.export(model, record_for(case, model, feeds, per_channel=case.per_channel, bits=bits))
    op_type = "ConvTranspose" if "= ConvTranspose" in case.text else "Conv"
    halves = bits // 8
    assert operators(deploy) == [op_type] * halves
    in_float = accumulators(deploy, feeds)
    monkeypatch.setattr(sums, "sums_exactly_in_float32", lambda *_given: False)
    assert operators(deploy) == (["ConvInteger"] if op_type == "Conv" else [op_type] * 2) * halves
    on_integers = accumulators(deploy, feeds)
    assert (in_float.dtype, on_integers.dtype) == ((np.float32, np.int32) if bits == 8 else (np.int64, np.int64))
    np.testing.assert_array_equal(in_float, on_integers)


def wide(channels: int, zero_point: int, bias: float | None = None) -> ir.Model:
    """A deploy model that sums so many products, all with weights of -127."""
    given, read = (", float[1] b", ", b") if bias is not None else ("", "")
    text = f"g (float[1,{channels},2,2] x, float[1,{channels},1,1] w{given}) => (float[1,1,2,2] y) {{ y = Conv (x, w{read}) }}"
    constants = {"w": np.full((1, channels, 1, 1), -127.0, "f4")} | ({"b": np.float32([bias])} if bias is not None else {})
    model = named(parse(text, header='<ir_version: 8, opset_import: ["": 13]>', **constants))
    record = QuantRecord((LayerRecord("Conv_0", QParams.of(1.0, zero_point), QParams.of(1.0, 0)),))
    return ascend.export(model, record)


@pytest.mark.parametrize(
    ("channels", "bias", "form"),
    [
        (518, None, "Conv"),  # 518 · 127 · 255 = 2^24 - 1786
        (519, None, "ConvInteger"),
        (4000, None, "ConvInteger"),
        (518, -1786.0, "Conv"),
        (518, -1787.0, "ConvInteger"),
        (518, 1787.0, "ConvInteger"),
        (1, -(2.0**30), "ConvInteger"),
    ],
)
def test_a_convolution_is_computed_in_float_as_long_as_that_is_exact(channels: int, bias: float | None, form: str) -> None:
    deploy = wide(channels, -128, bias)
    assert operators(deploy) == [form]
    codes = np.full((channels, 2, 2), 255)  # less the zero point
    codes[:, 1] = np.random.default_rng(0).integers(0, 256, (channels, 2))
    codes[0, 0, 1] -= 1  # another odd sum
    expected = -127 * codes.sum(axis=0) + int(bias or 0)
    np.testing.assert_array_equal(accumulators(deploy, {"x": codes[None].astype(np.float32)})[0, 0], expected)


def test_the_zero_point_decides_how_large_the_sums_are() -> None:
    assert operators(wide(1000, 0)) == ["Conv"]  # 1000 · 127 · 128
    assert operators(wide(1000, 100)) == ["ConvInteger"]  # 1000 · 127 · 228


@pytest.mark.parametrize(("lowest", "second"), [(1, np.int8), (2, np.uint8)])
@pytest.mark.parametrize("op_type", ["Gemm", "MatMul"])
def test_a_product_that_arm_cannot_sum_up_has_an_unsigned_factor(op_type: str, lowest: int, second: type) -> None:
    """Two weights of -128 in one column: in int8 two of these products are more than its kernels add."""
    weight = np.full((6, 3), 127.0, np.float32)
    weight[:lowest, 1] = -128
    text = f"g (float[2,6] x, float[6,3] w) => (float[2,3] y) {{ y = {op_type} (x, w) }}"
    model = named(parse(text, header='<ir_version: 8, opset_import: ["": 13]>', w=weight))
    record = QuantRecord((LayerRecord(f"{op_type}_0", QParams.of(1.0, -3), QParams.of(1.0, 0)),))
    deploy = ascend.export(model, record)
    (product,) = [node for node in lower(deploy).model.graph if node.op_type == "MatMulInteger"]
    assert product.inputs[3].const_value.numpy().dtype == second
    codes = np.array([[0, -125, 130, 7, -1, 3], [-125] * 6], np.float32)
    np.testing.assert_array_equal(accumulators(deploy, {"x": codes}), (codes @ weight).astype(np.int32))


@pytest.mark.parametrize("left", [False, True])
def test_so_has_one_of_data(left: bool) -> None:
    text = "g (float[1,6,6] x, float[1,6,6] z) => (float[1,6,6] y) { y = MatMul (x, z) }"
    if left:
        text = "g (float[1,6,6] x, float[6,6] w) => (float[1,6,6] y) { y = MatMul (w, x) }"
    rng = np.random.default_rng(0)
    weight = rng.choice(np.array([-128, 127], np.float32), (6, 6))
    model = named(parse(text, header='<ir_version: 8, opset_import: ["": 13]>', **({"w": weight} if left else {})))
    record = QuantRecord((LayerRecord("MatMul_0", QParams.of(1.0, 5 if left else 0), QParams.of(1.0, 0)),))
    feeds = {name: rng.choice(np.array([-133, -128, 100], np.float32), (1, 6, 6)) for name in ("x", "z")[: 1 if left else 2]}
    deploy = ascend.export(model, record)
    (product,) = [node for node in lower(deploy).model.graph if node.op_type == "MatMulInteger"]
    assert product.inputs[3].const_value.numpy().dtype == np.uint8
    expected = weight @ feeds["x"] if left else np.clip(feeds["x"], -128, 127) @ np.clip(feeds["z"], -128, 127)
    np.testing.assert_array_equal(accumulators(deploy, feeds), expected.astype(np.int32))
