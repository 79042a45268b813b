"""Shapes are inferred without touching what the model knows, inputs are fixed, and open dimensions are found."""

import numpy as np
import onnx
import pytest
from onnx_check import full_check

from amct_lite import ir
from amct_lite.errors import ConfigError

HEADER = '<ir_version: 8, opset_import: ["" : 17, "acme" : 1]>\n'
TEXT = (
    HEADER
    + """net (float[N, 3, H, 8] x) => (float[N, K] y) {
  w = Constant <value = float[2, 3, 1, 1] {1, 2, 3, 4, 5, 6}> ()
  c = Conv (x, w)
  p = GlobalAveragePool (c)
  y = Flatten (p)
}"""
)


def shapes(model):
    return {value.name: ir.dims_of(value) for node in model.graph for value in node.outputs}


def test_inference_fills_types_and_shapes():
    model = ir.from_text(TEXT)
    ir.infer_shapes(model)
    assert shapes(model) == {"w": (2, 3, 1, 1), "c": ("N", 2, None, 8), "p": ("N", 2, 1, 1), "y": ("N", 2)}
    assert all(value.dtype == ir.DataType.FLOAT for node in model.graph for value in node.outputs)


def test_inference_reads_small_initializers_and_leaves_large_ones_in_place():
    model = ir.from_text(HEADER + "net (float[2, 600] x) => (float[A, B] y) { a = Add (x, x) y = Reshape (a, x) }")
    ir.replace_input(model.graph[0], 1, ir.add_initializer(model.graph, "big", np.ones(600, np.float32)))
    ir.replace_input(model.graph[1], 1, ir.add_initializer(model.graph, "target", np.array([4, -1])))
    ir.add_initializer(model.graph, "last", np.ones(1))
    before = list(model.graph.initializers)
    ir.infer_shapes(model)
    assert shapes(model) == {"a": (2, 600), "y": (4, 300)}
    assert list(model.graph.initializers) == before
    assert [value.name for value in model.graph.inputs] == ["x"]
    assert ir.constant_of(model.graph.initializers["big"]) is not None


def test_a_result_has_as_many_axes_as_sizes_are_told_for_it():
    """Computed ones, too, and what is behind that: in front of opset 14 onnx tells nothing of it."""
    text = """net (float[1, L, 8] x) => (float[A, B] z) {
      zero = Constant <value_ints = [0]> () one = Constant <value_ints = [1]> () two = Constant <value_ints = [2]> ()
      heads = Constant <value_ints = [2, 4]> ()
      s = Shape (x) l = Slice (s, one, two, zero) k = Concat <axis = 0> (one, l, heads) a = Reshape (x, k)
      b = Transpose <perm = [0, 2, 1, 3]> (a) t = Shape (b) m = Slice (t, one, two, zero) n = Concat <axis = 0> (m, heads)
      c = Reshape (b, n) d = ReduceMax <axes = [0], keepdims = 0> (c) z = Relu (d) }"""
    model = ir.from_text(HEADER.replace("17", "13") + text)
    ir.infer_shapes(model)
    ranks = {name: None if dims is None else len(dims) for name, dims in shapes(model).items()}
    assert {name: ranks[name] for name in "abcd"} == {"a": 4, "b": 4, "c": 3, "d": 2}


def test_results_of_custom_operators_keep_what_the_model_says():
    text = HEADER + "net (float[N, 4] x) => (float[N, 4] y) <float[N, 7] a> { a = acme.F (x) b = acme.G (a) y = Relu (a) }"
    model = ir.from_text(text)
    ir.infer_shapes(model)
    assert shapes(model)["a"] == ("N", 7)
    assert shapes(model)["b"] is None


def test_invented_names_are_not_written():
    text = HEADER + "net (float[4] x, int64[1] k) => (float[M] y) { i = NonZero (x) s = Cast <to = 1> (i) y = Flatten (s) }"
    model = ir.from_text(text)
    ir.infer_shapes(model)
    assert shapes(model)["i"] == (1, None)


def test_contradictions_are_left_open():
    text = HEADER + "net (float[2, 3] x, float[2, 3] z) => (float[A, B] y) { y = MatMul (x, z) }"
    model = ir.from_text(text)
    ir.infer_shapes(model)
    assert shapes(model) == {"y": ("A", "B")}


def test_a_failing_inference_tells_no_shapes(monkeypatch):
    def fail(*_args, **_keywords):
        raise onnx.shape_inference.InferenceError("broken")

    monkeypatch.setattr(onnx.shape_inference, "infer_shapes", fail)
    model = ir.from_text(TEXT)
    before = shapes(model)
    ir.infer_shapes(model)
    assert shapes(model) == before


def test_fixed_inputs_make_all_shapes_known():
    model = ir.from_text(TEXT)
    ir.infer_shapes(model)
    assert [(value.name, dims) for value, dims in ir.unknown_dims(model)] == [
        ("x", ("N", 3, "H", 8)),
        ("c", ("N", 2, None, 8)),  # Conv does not carry names of sizes on
        ("p", ("N", 2, 1, 1)),
        ("y", ("N", 2)),
    ]
    ir.fix_input_shapes(model, {"x": (5, 3, 4, 8)})
    ir.infer_shapes(model)
    assert ir.unknown_dims(model) == []
    assert shapes(model)["c"] == (5, 2, 4, 8)
    full_check(model)


def test_a_changed_size_forgets_what_was_derived_from_the_old_one():
    model = ir.from_text(TEXT)
    ir.fix_input_shapes(model, {"x": (1, 3, 4, 8)})
    ir.infer_shapes(model)
    ir.fix_input_shapes(model, {"x": [2, 3, 6, 8]})
    ir.infer_shapes(model)
    assert shapes(model) == {"w": (2, 3, 1, 1), "c": (2, 2, 6, 8), "p": (2, 2, 1, 1), "y": (2, 2)}
    full_check(model)


def test_fixing_a_clone_leaves_the_original():
    model = ir.from_text(TEXT)
    before = ir.to_bytes(model)
    copy = ir.clone(model)
    ir.fix_input_shapes(copy, {"x": (5, 3, 4, 8)})
    ir.infer_shapes(copy)
    assert ir.to_bytes(model) == before


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"X": (1, 3, 4, 8)}, r"input shape for 'X': the model has no such input \(did you mean 'x'\?\); its inputs are x"),
        ("x:1,3,4,8", r"input shapes are 'x:1,3,4,8'\. Give a dict from input name to dimensions"),
        ({"x": (1, 3, 4)}, r"is \(1, 3, 4\), 3 dimensions; the model has 4: \(N, 3, H, 8\)"),
        ({"x": (0, 3, 4, 8)}, r"is \(0, 3, 4, 8\)\. Give its dimensions, each a whole number of 1 or more"),
        ({"x": (2, 3, -1, 8)}, r"each a whole number of 1 or more; behind the first, 0 is for what may be empty\."),
        ({"x": (-1, 3, 4, 8)}, "each a whole number of 1 or more"),
        ({"x": ("n", 3, 4, 8)}, "each a whole number of 1 or more"),
        ({"x": (1.5, 3, 4, 8)}, "each a whole number of 1 or more"),
        ({"x": 3}, r"is 3\. Give its dimensions"),
    ],
)
def test_shape_that_does_not_fit_is_refused(given, match):
    model = ir.from_text(TEXT)
    before = ir.to_bytes(model)
    with pytest.raises(ConfigError, match=match):
        ir.fix_input_shapes(model, given)
    assert ir.to_bytes(model) == before


def test_unused_results_need_no_shape():
    model = ir.from_text(HEADER + "net (float[4] x) => (float[4] y) { y = Relu (x) u = acme.F (x) }")
    ir.infer_shapes(model)
    assert ir.unknown_dims(model) == []


def test_dims_of_a_value_without_rank_is_none():
    assert ir.dims_of(ir.Value(name="v")) is None


@pytest.mark.parametrize(
    ("declared", "first", "sizes"),
    [
        ("[2,3]", 0, (2, 3)),
        ("[N,3,4]", 0, None),
        ("[N,3,4]", 1, (3, 4)),
        ("[N,3,?]", 1, None),
        ("[N,0]", 1, (0,)),
        ("[N]", 1, ()),
        ("[N]", 2, None),
        ("", 0, ()),
        ("[]", 0, None),
    ],
)
def test_sizes_are_told_where_all_of_them_are_known(declared, first, sizes):
    model = ir.from_text(f'<ir_version: 8, opset_import: ["": 17]> net (float{declared} x) => (float[A] y) {{ y = Neg (x) }}')
    assert ir.sizes_of(model.graph.inputs[0], first) == sizes


def test_an_absent_input_has_no_sizes():
    assert ir.dims_of(None) is None
    assert ir.sizes_of(None) is None


@pytest.mark.parametrize(("length", "followed"), [(100, True), (10**12, False)])
def test_values_of_long_vectors_are_not_followed(length, followed, monkeypatch):
    """onnx would take 200 bytes for each element: a damaged file of 14 KB took all memory of the machine."""
    asked = []
    original = onnx.shape_inference.infer_shapes

    def record(proto, data_prop):
        asked.append(data_prop)
        return original(proto, data_prop=False)

    monkeypatch.setattr(onnx.shape_inference, "infer_shapes", record)
    body = f"s = Constant <value = int64[1] {{{length}}}> () r = Reshape (x, s) m = Mul (r, r) y = Add (m, r)"
    model = ir.from_text(f"{HEADER}net (int64[A, B] x) => (int64[C] y) {{ {body} }}")
    ir.infer_shapes(model)
    assert asked == [False, followed]
    assert shapes(model)["y"] == (length,)
