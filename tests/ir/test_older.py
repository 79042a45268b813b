"""A model stated in an older opset computes the same: each is run before and after in ONNX Runtime."""

import numpy as np
import onnx
import pytest
from ir.test_opset import assert_same, feeds_for

from amct_lite import ir
from amct_lite.passes import lift_constants

NEWEST = 18
IMAGE = "float[2,4,6,6] x"
HEADS = "float[2,4,5,8] q, float[2,4,7,8] k, float[2,4,7,8] v"


def parse(opset: int, inputs: str, body: str) -> ir.Model:
    if opset > onnx.defs.onnx_opset_version():
        pytest.skip(f"this onnx has no opset {opset}")
    model = ir.from_text(f'<ir_version: 10, opset_import: ["" : {opset}]>\nnet ({inputs}) => (float y) {{ {body} }}')
    model.graph.outputs[0].shape = None
    ir.name_nodes(model)
    return model


SAME = {
    "relu": (22, IMAGE, "y = Relu (x)", 14),
    "layer_norm": (22, IMAGE, "s = Constant <value = float[6] {1, 2, 3, 4, 5, 6}> () y = LayerNormalization (x, s)", 17),
    "axes_as_an_input": (20, IMAGE, "a = Constant <value = int64[1] {1}> () y = ReduceMean (x, a)", 18),
    "average_pool": (19, IMAGE, "y = AveragePool <kernel_shape = [2, 2], dilations = [1, 1]> (x)", 13),
    "cast": (19, IMAGE, "c = Cast <to = 7, saturate = 1> (x) y = Cast <to = 1> (c)", 13),
    "cast_upwards": (24, IMAGE, 'c = Cast <to = 7, round_mode = "up"> (x) y = Cast <to = 1> (c)', 13),
    "grid_sample": (22, f"{IMAGE}, float[2,3,3,2] g", 'y = GridSample <mode = "linear"> (x, g)', 16),
    "grid_sample_by_default": (20, f"{IMAGE}, float[2,3,3,2] g", "y = GridSample (x, g)", 16),
    "pad": (21, IMAGE, "p = Constant <value = int64[8] {0, 0, 1, 1, 0, 0, 0, 2}> () y = Pad (x, p)", 18),
    "gelu": (20, IMAGE, "y = Gelu (x)", 14),
    "gelu_by_tanh": (22, IMAGE, 'y = Gelu <approximate = "tanh"> (x)', 15),
    "swish": (24, IMAGE, "y = Swish <alpha = 1.5> (x)", 14),
    "rms_norm": (23, f"{IMAGE}, float[6] s", "y = RMSNormalization <axis = -1, epsilon = 0.01> (x, s)", 18),
    "rotary": (23, "float[2,4,5,8] x, float[2,5,4] c, float[2,5,4] s", "y = RotaryEmbedding (x, c, s)", 18),
    "group_norm": (21, f"{IMAGE}, float[4] s, float[4] b", "y = GroupNormalization <num_groups = 2> (x, s, b)", 18),
    "attention": (23, HEADS, "y = Attention (q, k, v)", 18),
    "attention_of_groups": (23, HEADS.replace("[2,4,7", "[2,2,7"), "y = Attention <scale = 0.3> (q, k, v)", 18),
    "attention_with_a_mask": (
        *(23, f"{HEADS}, float[1,1,5,7] m", "zero = Constant <value = float {0}> () b = Greater (m, zero)"),
        *("y = Attention (q, k, v, b)", 18),
    ),
    "attention_of_rows": (
        *(24, "float[2,5,32] q, float[2,7,32] k, float[2,7,32] v"),
        *("y = Attention <q_num_heads = 4, kv_num_heads = 4> (q, k, v)", 18),
    ),
}
SAME = {name: (opset, inputs, " ".join(body), least) for name, (opset, inputs, *body, least) in SAME.items()}


@pytest.mark.parametrize("case", SAME)
def test_the_older_model_computes_the_same(case: str) -> None:
    opset, inputs, body, least = SAME[case]
    model = parse(opset, inputs, body)
    before = ir.to_bytes(model)
    older, problems = ir.older_opset(model, NEWEST)
    assert not problems
    assert ir.opset(older) == least
    assert ir.to_bytes(model) == before, "the model given stays as it is"
    feeds = feeds_for(model)
    assert_same(model, older, feeds)
    onnx.checker.check_model(onnx.load_from_string(ir.to_bytes(older)), full_check=True)


TOO_NEW = {
    "value": (
        *(19, IMAGE, "p = Constant <value = int64[8] {0, 0, 1, 1, 0, 0, 0, 0}> ()"),
        *('y = Pad <mode = "wrap"> (x, p)', "mode wrap"),
    ),
    "place": (
        *(19, IMAGE, "e = Constant <value = float[0] {}> () s = Constant <value = float[4] {1, 1, 2, 2}> ()"),
        *('y = Resize <coordinate_transformation_mode = "half_pixel_symmetric"> (x, e, s)', "half_pixel_symmetric"),
    ),
    "attribute": (22, IMAGE, "y = AveragePool <kernel_shape = [2, 2], dilations = [2, 2]> (x)", "dilations"),
    "rounding": (24, IMAGE, 'y = Cast <to = 1, round_mode = "down"> (x)', "round_mode"),
    "operator": (20, IMAGE, "w = Constant <value = float[1,4,1,1] {1, 1, 1, 1}> () y = DeformConv (x, w, x)", "DeformConv"),
    "meaning": (20, "float[2,6,1] x", "y = DFT (x)", "of opset 20"),
    "rank": (20, "float[1,2,3,3,3] x, float[1,2,2,2,3] g", "y = GridSample (x, g)", "more than images"),
    "type": (22, "bfloat16[1,2,3,3] x, bfloat16[2,2,1,1] w", "c = Conv (x, w) y = Cast <to = 1> (c)", "bfloat16"),
}
TOO_NEW = {name: (opset, inputs, " ".join(body), part) for name, (opset, inputs, *body, part) in TOO_NEW.items()}


@pytest.mark.parametrize("case", TOO_NEW)
def test_what_has_no_older_words_is_named(case: str) -> None:
    opset, inputs, body, part = TOO_NEW[case]
    model = parse(opset, inputs, body)
    older, problems = ir.older_opset(model, NEWEST)
    assert older is model
    assert len(problems) == 1
    assert part in problems[0]


def test_an_old_model_is_itself() -> None:
    model = parse(18, IMAGE, "y = Relu (x)")
    assert ir.older_opset(model, NEWEST) == (model, ())


def test_parts_are_called_after_the_node_that_they_are_of() -> None:
    model = parse(20, IMAGE, "a = Gelu (x) y = Gelu (a)")
    older, _ = ir.older_opset(model, NEWEST)
    names = [str(node.name) for node in older.graph]
    assert len(names) == len(set(names))
    assert all(name.startswith(("Gelu_0.", "Gelu_1.")) for name in names)
    assert "CastLike" not in {node.op_type for node in older.graph}


def test_bodies_are_stated_in_older_words_too() -> None:
    branches = "a () => (float[2,4,6,6] b) { b = Gelu (x) }", "c () => (float[2,4,6,6] d) { d = Swish (x) }"
    body = "y = If (w) <then_branch = {}, else_branch = {}>"
    text = body.replace("{}", branches[0], 1).replace("{}", branches[1], 1)
    model = parse(24, f"{IMAGE}, bool w", text)
    older, problems = ir.older_opset(model, NEWEST)
    assert not problems
    assert ir.later_operators(model, NEWEST) == {"Gelu": 1, "Swish": 1}
    assert not ir.later_operators(older, NEWEST)
    for chosen in (True, False):
        assert_same(model, older, {**feeds_for(model), "w": np.array(chosen)})


AXES = "a = Constant <value = int64[2] {2, -1}> ()"


@pytest.mark.parametrize("op", ["ReduceMean", "ReduceL1", "ReduceL2"])
@pytest.mark.parametrize("keep", [0, 1])
def test_axes_become_an_attribute(op: str, keep: int) -> None:
    model = parse(18, IMAGE, f"{AXES} y = {op} <keepdims = {keep}, noop_with_empty_axes = 1> (x, a)")
    older = ir.clone(model)
    lift_constants.run(older)
    assert ir.give_axes_as_attribute(older)
    assert ir.opset(older) == 13
    assert ir.attribute(older.graph[0], "axes", []) == [2, -1]
    assert_same(model, older, feeds_for(model))


@pytest.mark.parametrize(
    ("opset", "body"),
    [
        (18, f"{AXES} m = ReduceMax (x, a) h = ReduceMean (x, a) y = Add (m, h)"),
        (18, "s = Shape <start = 3> (x) one = Constant <value = int64[1] {3}> () a = Sub (s, one) y = ReduceMean (x, a)"),
        (18, "y = ReduceMean (x)"),
        (17, "y = ReduceMean <axes = [1]> (x)"),
    ],
)
def test_they_stay_where_opset_18_is_needed_or_they_are_none(opset: int, body: str) -> None:
    model = parse(opset, IMAGE, body)
    lift_constants.run(model)
    before = ir.to_bytes(model)
    assert not ir.give_axes_as_attribute(model)
    assert ir.to_bytes(model) == before
