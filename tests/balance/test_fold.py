"""Factors go into the weights in front where these can take them; where not, the Mul stays and the reason is told."""

from __future__ import annotations

import numpy as np
import pytest
from layer_cases import named
from passes.graphs import assert_agrees, ops, parse

from amct_lite import ir
from amct_lite.balance.factors import decide_factors
from amct_lite.balance.graph import balance_model
from amct_lite.numerics.sketch import Observation, Sketch
from amct_lite.types import Balance

HEADER = '<ir_version: 8, opset_import: ["": 17]>\n'
FACTORS = (2.0, 0.375, 7.0, 1.25)
WEIGHTS = (
    "float[4,4] w, float[4,4] v, float[4] s, float[4] b, float[4,4,1,1] k, float[4,1,3,3] d, float[4,4,3,3] t, float[4,4,1,1] m"
)
CONSTANTS = "w v s b k d t m"


def model_of(body: str, *, image: bool = False) -> ir.Model:
    shape = "[1,4,6,6]" if image else "[2,3,4]"
    outputs = ", ".join(f"float{shape} {name}" for name in ("y", "z") if f"{name} =" in body)
    return named(parse(f"g (float{shape} x, {WEIGHTS}) => ({outputs}) {{ {body} }}", CONSTANTS, HEADER))


TAKEN = {
    "layer normalization": "h = LayerNormalization (x, s, b) [l] y = MatMul (h, w)",
    "scale and shift of a decomposed one": "a = Mul (x, s) h = Add (a, b) [l] y = MatMul (h, w)",
    "shift first": "a = Mul (s, x) h = Add (b, a) [l] y = MatMul (h, w)",
    "matmul with bias": "a = MatMul (x, v) h = Add (a, b) [l] y = MatMul (h, w)",
    "through relu": "a = MatMul (x, v) c = Add (a, b) h = Relu (c) [l] y = MatMul (h, w)",
}
TAKEN_IMAGES = {
    "conv": "h = Conv (x, k, b) [l] y = Conv (h, m)",
    "conv without bias, relu": "a = Conv (x, k) h = Relu (a) [l] y = Conv (h, m)",
    "depthwise conv, leaky relu": "a = Conv <group = 4, pads = [1,1,1,1]> (x, d, b) h = LeakyRelu (a) [l] y = Conv (h, m)",
    "transposed conv": "h = ConvTranspose <pads = [1,1,1,1]> (x, t, b) [l] y = Conv (h, m)",
    "pools": "a = Conv (x, k, b) c = MaxPool <kernel_shape = [3,3], pads = [1,1,1,1]> (a)"
    " h = AveragePool <kernel_shape = [3,3], pads = [1,1,1,1]> (c) [l] y = Conv (h, m)",
}


@pytest.mark.parametrize("case", [*TAKEN, *TAKEN_IMAGES])
def test_factors_go_into_the_weights_in_front(case: str) -> None:
    model = model_of(TAKEN.get(case) or TAKEN_IMAGES[case], image=case in TAKEN_IMAGES)
    result = balance_model(model, Balance({"l": FACTORS}, fold=True))
    assert (result.folded, result.skips) == (("l",), ())
    assert ops(result.model) == ops(model)
    # Weights of two layers and the data are each rounded once more.
    assert_agrees(model, result.model, rtol=1e-5)


REFUSED = {
    "[l] y = MatMul (x, w)": "x is an input of the model",
    "h = LayerNormalization (x, s, b) [l] y = MatMul (h, w) [add] z = Add (h, x)": "is also read by add",
    "z = LayerNormalization (x, s, b) [l] y = MatMul (z, w)": "its input z is an output of the model",
    "h = Sigmoid (x) [l] y = MatMul (h, w)": "(Sigmoid) in front of it cannot take the factors",
    "a = MatMul (x, v) h = Relu (a) [l] y = MatMul (h, w) z = Neg (a)": "a, from which its input is computed, has",
    "h = Add (x, x) [l] y = MatMul (h, w)": "(Add) in front of it cannot take the factors",
    "h = Softmax (x) a = Relu (h) [l] y = MatMul (a, w)": "(Softmax) in front of it",
    "h = MatMul (x, v) [l] y = MatMul (h, w) z = MatMul (x, v)": "(MatMul) in front of it shares its weight with others",
}


@pytest.mark.parametrize("body", REFUSED)
def test_where_folding_is_refused_the_mul_stays(body: str) -> None:
    model = model_of(body)
    result = balance_model(model, Balance({"l": FACTORS}, fold=True))
    assert result.folded == ()
    assert "l.mul" in [node.name for node in result.model.graph]
    (skip,) = result.skips
    assert (skip.node, REFUSED[body] in skip.reason) == ("l", True), skip.reason
    assert_agrees(model, result.model)


def test_clip_and_axis_of_another_kind_are_refused() -> None:
    clipped = model_of("a = Conv (x, k, b) h = Clip (a) [l] y = Conv (h, k)", image=True)
    (skip,) = balance_model(clipped, Balance({"l": FACTORS}, fold=True)).skips
    assert "(Clip) in front of it cannot take the factors" in skip.reason
    last = (
        "g (float[1,4,6,4] x, float[4,4] w, float[4,4,1,1] k) => (float[1,4,6,4] y) { h = Conv (x, k) [l] y = MatMul (h, w) }"
    )
    conv = named(parse(last, "w k", HEADER))
    (skip,) = balance_model(conv, Balance({"l": FACTORS}, fold=True)).skips
    assert "(Conv) in front of it cannot take the factors" in skip.reason


THREE = "h = LayerNormalization (x, s, b) [q] a = MatMul (h, w) [k0] c = MatMul (h, v) y = Add (a, c)"


def test_readers_of_one_normalization_fold_together_or_not_at_all() -> None:
    model = model_of(THREE)
    equal = balance_model(model, Balance({"q": FACTORS, "k0": FACTORS}, fold=True))
    assert (equal.folded, ops(equal.model)) == (("q", "k0"), ops(model))
    assert_agrees(model, equal.model)
    unequal = balance_model(model, Balance({"q": FACTORS, "k0": FACTORS[::-1]}, fold=True))
    assert ["also read by" in skip.reason for skip in unequal.skips] == [True, True]
    assert_agrees(model, unequal.model)


def sketches(model: ir.Model, *tensors: str) -> dict[tuple[str, int | None], Sketch]:
    seen = Sketch(4)
    seen.observe(Observation.of(np.array([[[4, -9, 1, 0.25]]], np.float32), -1), 0)
    return {(tensor, -1): seen for tensor in tensors}


def test_joint_factors_rest_on_the_largest_weight_of_all_readers() -> None:
    w, v = np.diag([1, 4, 1, 1]).astype(np.float32), np.diag([1, 1, 4, 1]).astype(np.float32)
    text = f"g (float[2,3,4] x, {WEIGHTS}) => (float[2,3,4] y) {{ {THREE} }}"
    model = named(parse(text, "s b k d t", HEADER, w=w, v=v))
    strengths = {"q": 0.5, "k0": 0.5}
    joint = decide_factors(model, strengths, sketches(model, "h"), fold=True)
    assert joint.factors == dict.fromkeys(("q", "k0"), (2.0, 1.5, 0.5, 0.5))  # sqrt(4/1), sqrt(9/4), sqrt(1/4), sqrt(.25/1)
    alone = decide_factors(model, strengths, sketches(model, "h"), fold=False)
    assert alone.factors == {"q": (2.0, 1.5, 1.0, 0.5), "k0": (2.0, 3.0, 0.5, 0.5)}
    other = decide_factors(model, {"q": 0.5}, sketches(model, "h"), fold=True)
    assert other.factors == {"q": alone.factors["q"]}
