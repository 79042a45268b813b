"""Every dimension of a deploy model is known, or the error says what to pass."""

import numpy as np
import pytest
from layer_cases import named
from passes.graphs import assert_agrees, feeds_for, ops, outputs_of, parse

from amct_lite import ir
from amct_lite.errors import StaticShapeError
from amct_lite.validate.static_shape import fix_shapes

OPSET = '<ir_version: 8, opset_import: ["": 13]>'
FLATTEN = """g (float[N,4,H,5] x, int64 zero, int64[1] minus, int64[1] axes) => (float[A,B] y) {
    s = Shape (x) n = Gather (s, zero) u = Unsqueeze (n, axes) t = Concat <axis = 0> (u, minus)
    r = Relu (x) y = Reshape (r, t) }"""
CONSTANTS = {"zero": np.array(0), "minus": np.array([-1]), "axes": np.array([0])}


def model_of(text: str, **values: np.ndarray) -> ir.Model:
    return named(parse(text, "w w2", OPSET, **values))


def test_shape_arithmetic_becomes_a_constant() -> None:
    model = model_of(FLATTEN, **CONSTANTS)
    fixed = fix_shapes(model, {"x": (2, 4, 3, 5)})
    assert ops(fixed) == ["Relu", "Reshape"]
    assert ir.dims_of(fixed.graph.outputs[0]) == (2, 60)
    assert ir.unknown_dims(fixed) == []
    assert_agrees(model, fixed, {"x": feeds_for(model)["x"].repeat(2, axis=2)[:, :, :3]})


def test_a_second_round_folds_what_the_first_made_known() -> None:
    text = FLATTEN.replace("(float[A,B] y)", "(float[A,B] z)").replace(
        "y = Reshape (r, t) }", "y = Reshape (r, t) q = Shape (y) z = Expand (y, q) }"
    )
    fixed = fix_shapes(model_of(text, **CONSTANTS), {"x": (2, 4, 3, 5)})
    assert "Shape" not in ops(fixed)
    assert ir.dims_of(fixed.graph.outputs[0]) == (2, 60)


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        ("s = Shape (x)", [2, 4, 3, 5]),
        ("s = Size (x)", 120),
    ],
)
def test_shape_and_size_that_are_graph_outputs_keep_their_names(node: str, expected: object) -> None:
    kind = "int64[4]" if "Shape" in node else "int64"
    model = model_of(f"g (float[N,4,H,5] x) => ({kind} s, float[N,4,H,5] y) {{ {node} y = Relu (x) }}")
    fixed = fix_shapes(model, {"x": (2, 4, 3, 5)})
    assert [v.name for v in fixed.graph.outputs] == ["s", "y"]
    assert outputs_of(fixed, {"x": np.zeros((2, 4, 3, 5), np.float32)})[0].tolist() == expected


@pytest.mark.parametrize(("start", "end", "expected"), [(1, 3, [4, 3]), (-2, 4, [3, 5]), (0, -1, [2, 4, 3])])
def test_a_slice_of_the_shape_is_cut_right(start: int, end: int, expected: list[int]) -> None:
    node = f"s = Shape <start = {start}, end = {end}> (x)"
    text = f"g (float[N,4,H,5] x) => (int64[K] s, float[N,4,H,5] y) {{ {node} y = Relu (x) }}"
    model = named(parse(text, header='<ir_version: 8, opset_import: ["": 17]>'))
    fixed = fix_shapes(model, {"x": (2, 4, 3, 5)})
    assert outputs_of(fixed, {"x": np.zeros((2, 4, 3, 5), np.float32)})[0].tolist() == expected


def test_a_static_model_needs_no_shapes() -> None:
    model = model_of("g (float[1,3] x) => (float[1,3] y) { y = Relu (x) }")
    assert ir.to_bytes(fix_shapes(model, {})) == ir.to_bytes(model)


def test_unknown_dimensions_are_an_error_with_the_option_to_pass() -> None:
    model = model_of("g (float[N,3,H,W] x, float[2,M] z) => (float[N,3,H,W] y) { y = Relu (x) k = Relu (z) }")
    with pytest.raises(StaticShapeError) as caught:
        fix_shapes(model, {"z": (2, 7)})
    message = str(caught.value)
    assert "input 'x' is (N, 3, H, W)" in message
    assert "'z' is" not in message
    assert '--input-shape "x:1,3,?,?;z:2,7"' in message


def test_an_input_of_unknown_rank_needs_sizes_too() -> None:
    model = model_of("g (float[N] x, float[N,M] z) => (float[N] y) { y = Relu (x) k = Relu (z) }")
    for value in model.graph.inputs:
        value.shape = None
    with pytest.raises(StaticShapeError, match=r"input 'x' is of unknown rank\. .* --input-shape \"x:\?;z:2,7\""):
        fix_shapes(model, {"z": (2, 7)})
    assert ir.dims_of(fix_shapes(model, {"x": (3,), "z": (2, 7)}).graph.outputs[0]) == (3,)


def test_all_open_inputs_are_named_at_once() -> None:
    model = model_of("g (float[N,3] x, float[M] z) => (float[N,3] y, float[M] u) { y = Relu (x) u = Relu (z) }")
    with pytest.raises(StaticShapeError, match=r"input 'x' is \(N, 3\); input 'z' is \(M\)"):
        fix_shapes(model, {})


@pytest.mark.parametrize("dims", [(2, 3), (2, 3, 4, 4, 1), (2, 5, 4, 4)], ids=str)
def test_a_shape_that_does_not_fit_is_an_error(dims: tuple[int, ...]) -> None:
    model = model_of("g (float[N,3,H,W] x) => (float[N,3,H,W] y) { y = Relu (x) }")
    shown = ", ".join(map(str, dims))
    with pytest.raises(StaticShapeError, match=rf"input 'x' is \(N, 3, H, W\), which \({shown}\) does not fit"):
        fix_shapes(model, {"x": dims})


def test_the_suggested_shape_fits_the_model() -> None:
    """A rejected shape must not come back as the example to pass."""
    model = model_of("g (float[N,3,H,W] x) => (float[N,3,H,W] y) { y = Relu (x) }")
    with pytest.raises(StaticShapeError, match=r'--input-shape "x:2,3,4,4"'):
        fix_shapes(model, {"x": (2, 5, 4, 4)})


def test_sizes_that_depend_on_data_are_an_error_that_names_the_tensors() -> None:
    model = model_of("g (float[N,3] x) => (int64[2,K] y) { r = Relu (x) y = NonZero (r) }")
    with pytest.raises(StaticShapeError, match=r"1 tensor still has no static shape: 'y' \(2, .*NonZero.*depends on the data"):
        fix_shapes(model, {"x": (1, 3)})


def test_the_model_given_is_not_modified() -> None:
    model = model_of(FLATTEN, **CONSTANTS)
    before = ir.to_bytes(model)
    fix_shapes(model, {"x": (2, 4, 3, 5)})
    assert ir.to_bytes(model) == before


def test_the_suggestion_leaves_out_what_is_fixed_scalars_too() -> None:
    model = model_of("g (float[N,2] x, int64 rate) => (float[N,2] y) { y = Relu (x) }")
    with pytest.raises(StaticShapeError, match='pass --input-shape "x:1,2" with'):
        fix_shapes(model, {})
