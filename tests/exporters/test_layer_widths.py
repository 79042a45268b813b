"""Layers of other widths than 8 bits: both exported models against integers computed by numpy."""

import numpy as np
import pytest
from integer_reference import codes_of, device_codes_of
from layer_cases import BY_ID, CASES, Case, layer_node, named, record_for, reference
from onnx_check import full_check
from passes.graphs import feeds_for, outputs_of, parse

from amct_lite import ir
from amct_lite.errors import ExportError, VerificationError
from amct_lite.exporters import ascend, qdq
from amct_lite.ir.build import Inserter
from amct_lite.numerics.packing import pack_int4
from amct_lite.ops import Layer, bind
from amct_lite.ops.widths import data_problem, weight_problem
from amct_lite.runtime import open_session
from amct_lite.types import LayerRecord, QParams, QuantRecord
from amct_lite.validate.equivalence import verify_deploy
from amct_lite.validate.lowering import lower

WIDTHS = ((16, 8), (16, 4), (8, 4), (8, 6), (16, 7), (4, 4))


def possible(case: Case, bits: int, weight_bits: int, *, packed: bool) -> bool:
    layer = bind(layer_node(case.model()))
    assert isinstance(layer, Layer)
    return not (weight_problem(layer, weight_bits, packed=packed) or data_problem(layer, bits, weight_bits))


def combinations(*, packed: bool) -> list:
    return [
        pytest.param(case, bits, weight_bits, id=f"{case.id}-A{bits}W{weight_bits}")
        for case in CASES
        for bits, weight_bits in WIDTHS
        if possible(case, bits, weight_bits, packed=packed)
        and not (packed and case.refused)
        and (case.weight or weight_bits == 8)
    ]


def prepared(case: Case, bits: int, weight_bits: int) -> tuple[ir.Model, dict[str, np.ndarray], QuantRecord]:
    model = case.model()
    feeds = feeds_for(model, seed=7)
    return model, feeds, record_for(case, model, feeds, per_channel=case.per_channel, bits=bits, weight_bits=weight_bits)


@pytest.mark.parametrize(("case", "bits", "weight_bits"), combinations(packed=False))
def test_fake_quant_model_computes_what_the_integers_say(case: Case, bits: int, weight_bits: int) -> None:
    model, feeds, record = prepared(case, bits, weight_bits)
    exported = qdq.export(model, record)
    full_check(exported)
    assert ir.opset(exported) == (21 if bits == 16 else 13)
    (got,) = outputs_of(exported, feeds)
    total, steps = reference(case, model, record, feeds, codes_of)
    expected = total * steps.astype(np.float64)
    # float32 sums of a few dozen products, each rounded at 6e-8 of the largest
    np.testing.assert_allclose(got, expected, rtol=0, atol=2e-6 * np.abs(expected).max())


@pytest.mark.parametrize(("case", "bits", "weight_bits"), combinations(packed=True))
def test_deploy_model_has_the_same_accumulators_to_the_last_bit(case: Case, bits: int, weight_bits: int) -> None:
    model, feeds, record = prepared(case, bits, weight_bits)
    lowered = lower(ascend.export(model, record))
    session = open_session(lowered.model)
    results = dict(zip(session.output_names, session.run(feeds), strict=True))
    total, steps = reference(case, model, record, feeds, device_codes_of)
    (layer,) = lowered.layers
    if case.weight:
        np.testing.assert_array_equal(results[layer.accumulators], total)
        np.testing.assert_array_equal(results["y"], total.astype(np.float32) * steps)
    else:  # an average is no integer
        np.testing.assert_allclose(results["y"], total * steps, rtol=3e-7, atol=1e-6 * np.abs(total * steps).max())


@pytest.mark.parametrize(("case", "bits", "weight_bits"), combinations(packed=True))
def test_both_models_agree(case: Case, bits: int, weight_bits: int) -> None:
    model, feeds, record = prepared(case, bits, weight_bits)
    found = verify_deploy(ascend.export(model, record), qdq.export(model, record), [feeds])
    assert (found.samples, found.layers) == (1, 1)
    assert (found.int32_share > 0) == (bits == 16 and case.weight)


@pytest.mark.parametrize(("bits", "dst_type"), [(4, "INT4"), (8, "INT8"), (16, "INT16")])
def test_ascend_quant_says_the_type_of_its_codes(bits: int, dst_type: str) -> None:
    model, _, record = prepared(BY_ID["gemm"], bits, 4)
    quant = next(node for node in ascend.export(model, record).graph if node.op_type == "AscendQuant")
    assert ir.attribute(quant, "dst_type", "") == dst_type
    assert ir.attribute(quant, "offset", 0.0) == record.layers[0].activation.zero_point[0]
    assert quant.outputs[0].dtype == (ir.DataType.INT16 if bits == 16 else ir.DataType.INT8)


@pytest.mark.parametrize(
    ("case_id", "axis", "stored"),
    [
        ("conv2d_dilated", 1, (3, 1, 3, 3)),
        ("deconv_output_padding", 0, (1, 3, 3, 3)),
        ("gemm_trans_b", 0, (4, 5)),
        ("matmul_3d_weight", 1, (2, 4, 5)),
    ],
)
def test_int4_weight_is_an_int8_initializer_half_as_long_along_cin(case_id: str, axis: int, stored: tuple[int, ...]) -> None:
    case = BY_ID[case_id]
    model, _, record = prepared(case, 8, 4)
    value = ascend.export(model, record).graph.initializers[f"{record.layers[0].key}.weight"]
    assert (value.dtype, tuple(value.shape)) == (ir.DataType.INT8, stored)
    fake = qdq.export(model, record)
    codes = next(
        array for v in fake.graph.initializers.values() if (array := ir.constant_of(v)).dtype == np.int8 and array.ndim > 1
    )
    assert codes.min() >= -8
    assert codes.max() == 7
    whole = tuple(size * (2 if place == axis else 1) for place, size in enumerate(stored))
    np.testing.assert_array_equal(value.const_value.numpy(), pack_int4(codes.reshape(whole), axis))


@pytest.mark.parametrize("weight_bits", [6, 7])
def test_int6_and_int7_weights_are_bytes_in_a_narrower_range(weight_bits: int) -> None:
    model, _, record = prepared(BY_ID["conv2d"], 8, weight_bits)
    codes = ascend.export(model, record).graph.initializers[f"{record.layers[0].key}.weight"].const_value.numpy()
    assert (codes.dtype, codes.shape) == (np.int8, (5, 3, 3, 2))
    assert np.abs(codes).max() == 2 ** (weight_bits - 1) - 1


@pytest.mark.parametrize(("case_id", "why"), [("conv2d", "it has 3 of them"), ("conv2d_depthwise", "group = 6")])
def test_int4_weight_that_cannot_be_packed_is_refused(case_id: str, why: str) -> None:
    model, _, record = prepared(BY_ID[case_id], 8, 4)
    with pytest.raises(ExportError, match=f"{why}.*wts_type INT8"):
        ascend.export(model, record)


def test_accumulators_beyond_int32_are_refused() -> None:
    model = named(parse("g (float[3,700] x, float[700,5] w) => (float[3,5] y) { y = MatMul (x, w) }", w=np.ones((700, 5), "f")))
    feeds = {"x": np.ones((3, 700), np.float32)}  # 700 products of 32767 and 127 are more than 2^31
    record = QuantRecord((LayerRecord("MatMul_0", QParams.of(1 / 32767, 0, 16), QParams.of(1 / 127, 0)),))
    fake, deploy = qdq.export(model, record), ascend.export(model, record)
    with pytest.raises(VerificationError, match=r"MatMul_0: .* reach 1\.36 times the range of int32.*8-bit activations"):
        verify_deploy(deploy, fake, [feeds])


@pytest.mark.parametrize(("moved", "agrees"), [(6, True), (7, False)])
def test_16_bit_codes_may_differ_by_what_float_layers_explain(moved: int, agrees: bool) -> None:
    """0.02 of a step of 8 bits is 5 steps of 16 bits: 6 codes after rounding."""
    model, feeds, record = prepared(BY_ID["conv2d"], 16, 8)
    fake, deploy = qdq.export(model, record), ascend.export(model, record)
    quant = next(node for node in fake.graph if node.op_type == "QuantizeLinear")
    b = Inserter(quant, "moved")
    distance = b.constant(moved * record.layers[0].activation.scale[0], np.float32)
    ir.replace_input(quant, 0, b.op("Add", quant.inputs[0], distance))
    if agrees:
        assert verify_deploy(deploy, fake, [feeds]).code_mismatch > 0.9
    else:
        with pytest.raises(VerificationError, match=r"different codes \(largest difference 7"):
            verify_deploy(deploy, fake, [feeds])


def test_a_product_of_two_16_bit_tensors_is_not_executed() -> None:
    model, feeds, record = prepared(BY_ID["matmul_two"], 16, 8)
    with pytest.raises(VerificationError, match=r"multiplies two variable tensors.*INT16: use INT8"):
        verify_deploy(ascend.export(model, record), qdq.export(model, record), [feeds])
