"""A graph in float32 becomes one in float16, and stays valid."""

import numpy as np
import pytest
from onnx_check import full_check
from passes.graphs import outputs_of, parse

from amct_lite import ir
from amct_lite.errors import ExportError
from amct_lite.exporters.narrow import narrow

HALF, WIDE = ir.DataType.FLOAT16, ir.DataType.FLOAT
X = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)


def narrowed(text: str, constants: str = "", floats: dict | None = None, **values: np.ndarray) -> tuple[ir.Model, ir.Model]:
    model = parse(text, constants, **values)
    ir.infer_shapes(model)
    result = narrow(model, floats or {})
    full_check(result)
    return model, result


def assert_computes_the_same(model: ir.Model, half: ir.Model, feeds: dict[str, np.ndarray]) -> None:
    for exact, ours in zip(outputs_of(model, feeds), outputs_of(half, feeds), strict=True):
        # a handful of roundings to 11 bits
        np.testing.assert_allclose(ours.astype(np.float32), exact, atol=4e-3 * np.abs(exact).max())


def test_every_operator_between_computes_in_float16() -> None:
    model, half = narrowed(
        """g (float[2,3] x, float[3] c) => (float[2,3] y) { a = Relu (x) b = Add (a, c) d = Mul (b, c) y = Softmax (d) }""", "c"
    )
    assert {o.dtype for node in half.graph for o in node.outputs} == {HALF}
    assert sum(node.op_type == "Cast" for node in half.graph) == 1, "the input is float32"
    assert len([v for v in half.graph.initializers.values() if v.dtype == HALF]) == 1, "two readers, one constant"
    assert_computes_the_same(model, half, {"x": X})


def test_a_body_reads_what_it_captured_as_float32() -> None:
    model, half = narrowed("g (float x, bool q) => (float y, float o) { h = Relu (x) y = Neg (h) o = branches_on(h) }")
    types = {str(o.name): o.dtype for node in half.graph for o in node.outputs}
    assert (types["h"], types["y"], types["o"]) == (HALF, HALF, WIDE)
    for flag in (True, False):
        assert_computes_the_same(model, half, {"x": np.array(0.3, np.float32), "q": np.array(flag)})


def test_custom_operators_and_float32_of_the_source_stay() -> None:
    _, half = narrowed(
        "g (float[2,3] x) => (float[2,3] y) { a = Relu (x) b = Exp (a) c = custom.Thing (b) y = Neg (c) }", floats={"b": WIDE}
    )
    types = {str(o.name): o.dtype for node in half.graph for o in node.outputs}
    thing = next(node for node in half.graph if node.op_type == "Thing")
    assert (types["a"], types["b"]) == (HALF, WIDE)
    assert thing.inputs[0].dtype == WIDE


@pytest.mark.parametrize(
    "text", ["ConstantOfShape <value = float[1] {2.0}> (n)", "RandomNormal <shape = [2, 3], seed = 1.0> ()"]
)
def test_an_operator_that_makes_its_own_type_stays(text: str) -> None:
    _, half = narrowed(
        f"g (float[2,3] x, int64[2] n) => (float[2,3] y) {{ a = {text} y = Add (x, a) }}", n=np.array([2, 3], np.int64)
    )
    made = next(node for node in half.graph if node.op_type in {"ConstantOfShape", "RandomNormal"})
    assert made.outputs[0].dtype == WIDE
    assert half.graph.outputs[0].dtype == HALF


def test_a_constant_beyond_float16_is_refused_but_infinity_is_not() -> None:
    text = "g (float[2,3] x, float c) => (float[2,3] y) { y = Min (x, c) }"
    with pytest.raises(ExportError, match=r"'c' holds 70000, which float16 \(65504 at most\) does not"):
        narrowed(text, c=np.array(7e4, np.float32))
    _, half = narrowed(text, c=np.array(np.inf, np.float32))
    assert half.graph.outputs[0].dtype == HALF
