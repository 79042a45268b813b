"""A balanced model computes what it was made from, whatever the layer, with Mul nodes named as AMCT names them."""

from __future__ import annotations

import numpy as np
import pytest
from layer_cases import CASES, Case, layer_node, named
from passes.graphs import assert_agrees, constant, feeds_for, ops, outputs_of, parse

from amct_lite import ir
from amct_lite.balance.graph import balance_model, factors_in
from amct_lite.errors import ExportError, VerificationError
from amct_lite.ops import Layer, bind
from amct_lite.runtime import RuntimeOptions
from amct_lite.types import Balance
from amct_lite.validate.balanced import verify_balanced

HEADER = '<ir_version: 8, opset_import: ["": 17]>\n'
SHARED_WEIGHT = "g (float[2,4] x, float[4,4] w) => (float[2,4] y, float[2,4] z) { y = MatMul (x, w) z = MatMul (x, w) }"


def factors(count: int, seed: int = 1) -> tuple[float, ...]:
    """Numbers from 1/16 to 16, no powers of two, so that an error in one channel shows."""
    return tuple(np.exp2(np.random.default_rng(seed).uniform(-4, 4, count)).astype(np.float32).tolist())


def layer_of(model: ir.Model) -> Layer:
    layer = bind(layer_node(model))
    assert isinstance(layer, Layer)
    return layer


def balanceable(case: Case) -> bool:
    return not layer_of(case.model()).balance_refusal


TAKEN = [case for case in CASES if balanceable(case)]


def test_the_cases_cover_every_layout() -> None:
    assert {layer_of(case.model()).op_type for case in TAKEN} == {"Conv", "ConvTranspose", "Gemm", "MatMul"}
    assert {layer_of(case.model()).group > 1 for case in TAKEN} == {False, True}


@pytest.mark.parametrize("case", TAKEN, ids=lambda case: case.id)
def test_a_balanced_layer_computes_the_same(case: Case) -> None:
    model = case.model()
    layer = layer_of(model)
    balance = Balance({layer.name: factors(layer.input_channels)})
    balanced = balance_model(model, balance).model
    assert ops(balanced)[0] == "Mul"
    # Rounded once more in x and once in w: 2^-24 each, on sums that may cancel to a hundredth of their terms.
    assert_agrees(model, balanced, rtol=1e-5)
    # 1 / (1 / f), each rounded to 2^-24
    np.testing.assert_allclose(factors_in(balanced)[layer.name], balance.factors[layer.name], rtol=2.0**-22)


@pytest.mark.parametrize("case", [case for case in CASES if case not in TAKEN], ids=lambda case: case.id)
def test_a_layer_without_weight_channels_is_refused(case: Case) -> None:
    name = layer_node(case.model()).name
    with pytest.raises(ExportError, match=rf"the input of {name} .* cannot be balanced: .*constant"):
        balance_model(case.model(), Balance({name: (2.0,)}))


def test_the_mul_and_its_constant_have_amcts_names() -> None:
    model = named(parse("g (float[1,3,5,5] x, float[2,3,3,3] w) => (float[1,2,3,3] y) { [c] y = Conv (x, w) }", "w", HEADER))
    balanced = balance_model(model, Balance({"c": (2.0, 4.0, 0.5)})).model
    (mul, conv) = balanced.graph
    assert (mul.name, mul.op_type, conv.inputs[0]) == ("c.mul", "Mul", mul.outputs[0])
    assert constant(balanced, "c.tensor_balance_factor").tolist() == [[[0.5]], [[0.25]], [[2.0]]]
    np.testing.assert_array_equal(
        constant(balanced, "w"), constant(model, "w") * np.array([2, 4, 0.5], np.float32).reshape(1, 3, 1, 1)
    )


def test_a_weight_that_others_read_is_copied() -> None:
    model = named(parse(SHARED_WEIGHT, "w", HEADER))
    assert_agrees(model, balance_model(model, Balance({"MatMul_1": factors(4)})).model)


def test_factors_of_one_need_no_mul() -> None:
    model = named(parse(SHARED_WEIGHT, "w", HEADER))
    assert ops(balance_model(model, Balance({"MatMul_1": (1.0,) * 4})).model) == ops(model)


def test_the_wrong_number_of_factors_is_refused() -> None:
    model = named(parse(SHARED_WEIGHT, "w", HEADER))
    with pytest.raises(ExportError, match="MatMul_0 has 4 input channels, but 3 tensor_balance_factor"):
        balance_model(model, Balance({"MatMul_0": (2.0,) * 3}))


def test_a_weight_that_would_overflow_is_refused() -> None:
    model = named(parse(SHARED_WEIGHT, header=HEADER, w=np.full((4, 4), 1e38, np.float32)))
    with pytest.raises(ExportError, match=r"the weight of MatMul_0 \(MatMul\) times its tensor_balance_factor is too large"):
        balance_model(model, Balance({"MatMul_0": (8.0,) * 4}))


def test_a_model_that_computes_something_else_is_found_out() -> None:
    model = named(parse(SHARED_WEIGHT, "w", HEADER))
    balanced = balance_model(model, Balance({"MatMul_0": factors(4)})).model
    feeds = [feeds_for(model)]
    verify_balanced(model, balanced, feeds, RuntimeOptions(threads=1))
    inverse = balanced.graph.initializers["MatMul_0.tensor_balance_factor"]
    wrong = constant(balanced, "MatMul_0.tensor_balance_factor") * np.array([1, 1, 1.01, 1], np.float32)
    inverse.const_value = ir.Tensor(wrong, name=inverse.name)
    with pytest.raises(VerificationError, match=r"output 'y' of the balanced model lies only [\d.]+ dB above"):
        verify_balanced(model, balanced, feeds, RuntimeOptions(threads=1))
    assert len(outputs_of(balanced, feeds[0])) == 2


def test_what_cancels_to_nothing_may_differ_by_its_rounding() -> None:
    one, other = (
        parse("g (float[1,4] x, float k) => (float[1,4] y) { y = Mul (x, k) }", "", HEADER, k=np.float32(k))
        for k in (1e-8, -1e-8)
    )
    verify_balanced(one, other, [feeds_for(one)], RuntimeOptions(threads=1))
