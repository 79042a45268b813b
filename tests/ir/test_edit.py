"""Edits leave a graph valid: subgraphs follow, graph outputs keep their names."""

import numpy as np
import pytest
from onnx_check import full_check

from amct_lite import ir

HEADER = '<ir_version: 8, opset_import: ["" : 17]>\n'
CHAIN = HEADER + "net (float[4] x) => (float[4] y, float[4] z) { a = Relu (x) y = Neg (a) z = Abs (y) }"
CAPTURE = (
    HEADER
    + """net (bool c, float[4] x) => (float[4] y) {
  h = Relu (x)
  g = Neg (x)
  y = If (c) <then_branch = t () => (float[4] a) { a = Abs (h) }, else_branch = e () => (float[4] b) { b = Abs (g) }>
}"""
)


def value(model, name):
    return next(v for node in model.graph for v in node.outputs if v.name == name)


def outputs(model):
    return [v.name for v in model.graph.outputs]


def reload(model):
    """Back from bytes, checked: what was edited is a valid model."""
    full_check(model)
    return ir.load_bytes(ir.to_bytes(model))


def test_constant_of_is_the_array_of_an_initializer_and_nothing_else():
    model = ir.from_text(CHAIN)
    weight = ir.add_initializer(model.graph, "w", np.arange(4, dtype=np.float32))
    np.testing.assert_array_equal(ir.constant_of(weight), [0, 1, 2, 3])
    assert ir.constant_of(None) is None
    assert ir.constant_of(model.graph.inputs[0]) is None
    assert ir.constant_of(value(model, "a")) is None
    model.graph.inputs.append(weight)  # now it is only a default
    assert ir.constant_of(weight) is None


def test_what_is_no_result_has_no_producer():
    model = ir.from_text(CHAIN)
    assert ir.producer_of(value(model, "a")) is model.graph[0]
    assert ir.producer_of(model.graph.inputs[0]) is None
    assert ir.producer_of(None) is None


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (3, 3),
        (np.int64(3), 3),
        (True, 1),
        (ir.DataType.INT8, 3),
        (0.5, 0.5),
        (np.float32(0.5), 0.5),
        ("SAME_UPPER", "SAME_UPPER"),
        ((1, 2), [1, 2]),
        (np.array([1, 2]).tolist(), [1, 2]),
        ([np.int64(1)], [1]),
        ([0.5], [0.5]),
        (["a", "b"], ["a", "b"]),
        ([], []),
    ],
)
def test_attributes_go_in_and_out_as_python_values(given, read):
    node = ir.new_node("Op", [], name="n", attributes={"key": given})
    assert ir.attribute(node, "key") == read
    assert type(ir.attribute(node, "key")) is type(read)
    ir.set_attribute(node, "key", given)
    assert ir.attribute(node, "key") == read


def test_array_attributes_and_defaults():
    node = ir.new_node("Constant", [], name="n", attributes={"value": np.array([1, 2], np.int8), "left_out": None})
    np.testing.assert_array_equal(ir.attribute(node, "value"), np.array([1, 2], np.int8))
    assert ir.attribute(node, "left_out", 7) == 7
    assert ir.attribute(node, "absent") is None


def test_attribute_of_the_function_around_is_refused():
    model = ir.from_text(CHAIN)
    text = '<domain: "d", opset_import: ["" : 17]> F <alpha> (a) => (b) { b = LeakyRelu <alpha: float = @alpha> (a) }'
    function = ir.add_function(model, text)
    with pytest.raises(ValueError, match="refers to an attribute of the function"):
        ir.attribute(function[0], "alpha", 0.01)


def test_added_initializers_have_type_shape_and_unique_names():
    graph = ir.from_text(CHAIN).graph
    scalar = ir.add_initializer(graph, "x", np.float32(2))
    assert (scalar.name, ir.dims_of(scalar), scalar.dtype) == ("x_1", (), ir.DataType.FLOAT)
    view = ir.add_initializer(graph, "t", np.arange(6, dtype=np.float32).reshape(2, 3).T)
    np.testing.assert_array_equal(ir.constant_of(view), [[0, 3], [1, 4], [2, 5]])
    words = ir.add_initializer(graph, "s", np.array(["ä", "b"]))
    assert words.dtype == ir.DataType.STRING


def test_added_initializers_survive_a_round_trip():
    model = ir.from_text(CHAIN)
    half_bytes = ir.add_initializer(model.graph, "w", np.array([[-8, 7, 1]], dtype=np.int8))
    half_bytes.const_value = ir.tensor_of(np.array([[-8, 7, 1]]), ir.DataType.INT4, "w")
    ir.add_initializer(model.graph, "t", np.arange(6, dtype=np.float32).reshape(2, 3).T)
    ir.add_initializer(model.graph, "s", np.array(["ä", "b"]))
    back = ir.load_bytes(ir.to_bytes(model)).graph.initializers
    np.testing.assert_array_equal(ir.constant_of(back["w"]).astype(int), [[-8, 7, 1]])
    np.testing.assert_array_equal(ir.constant_of(back["t"]), [[0, 3], [1, 4], [2, 5]])
    assert [word.decode() for word in ir.constant_of(back["s"])] == ["ä", "b"]


def test_new_input_is_appended():
    model = ir.from_text(CHAIN)
    added = ir.new_input(model, "x", ir.DataType.INT8, ["N", 4, None])
    assert [v.name for v in model.graph.inputs] == ["x", "x_1"]
    assert ir.dims_of(added) == ("N", 4, None)


def test_new_nodes_name_their_outputs():
    model = ir.from_text(CHAIN)
    source = model.graph.inputs[0]
    assert [v.name for v in ir.new_node("Split", [source], name="s", outputs=2).outputs] == ["s.output0", "s.output1"]
    node = ir.new_node("Neg", [source], name="n", outputs=["given"])
    ir.insert_after(model.graph[0], node)
    ir.insert_before(node, [ir.new_node("Abs", [source], name="m"), ir.new_node("Abs", [source], name="l")])
    assert [n.name for n in model.graph][:4] == ["Relu_0", "m", "l", "n"]
    reload(model)


def test_the_name_of_a_removed_initializer_is_not_given_out_again():
    model = ir.from_text(CHAIN)
    weight = ir.add_initializer(model.graph, "w", np.zeros(4, np.float32))
    ir.remove_initializer(weight)
    assert "w" not in model.graph.initializers
    assert ir.unique_name(model.graph, "w") == "w_1"


def test_bodies_are_the_graphs_that_a_node_carries():
    model = ir.from_text(CAPTURE)
    assert [[graph.name for graph in ir.bodies(node)] for node in model.graph] == [[], [], ["t", "e"]]


def test_insertion_beside_a_node_of_no_graph_is_refused():
    node = ir.new_node("Neg", [], name="n")
    with pytest.raises(ValueError, match="'n' stands in no graph"):
        ir.insert_after(node, ir.new_node("Neg", [], name="m"))


def test_node_in_use_is_not_removed():
    model = ir.from_text(CHAIN)
    with pytest.raises(ValueError, match="'Relu_0' cannot be removed: its output 'a' is still in use"):
        ir.remove_node(model.graph[0])
    with pytest.raises(ValueError, match="its output 'z' is still in use"):
        ir.remove_node(model.graph[2])
    assert len(model.graph) == 3
    assert model.graph[0].inputs[0] is not None


def test_removed_if_reads_nothing_any_more():
    model = ir.from_text(CAPTURE)
    node = model.graph[2]
    ir.redirect(node.outputs[0], value(model, "h"))
    ir.remove_node(node)
    assert ir.remove_unused(model) == 1
    assert [n.op_type for n in reload(model).graph] == ["Relu"]


def test_unused_nodes_and_initializers_go_outputs_stay():
    model = ir.from_text(HEADER + "net (float[4] x) => (float[4] y) { a = Relu (x) b = Neg (a) y = Abs (x) }")
    ir.add_initializer(model.graph, "unread", np.zeros(1))
    kept = ir.add_initializer(model.graph, "kept", np.zeros(1, np.float32))
    model.graph.outputs.append(kept)
    assert ir.remove_unused(model) == 3
    assert [n.op_type for n in model.graph] == ["Abs"]
    assert list(model.graph.initializers) == ["kept"]


def test_replace_input_adds_absent_inputs():
    model = ir.from_text(CHAIN)
    node = model.graph[0]
    ir.replace_input(node, 2, model.graph.inputs[0])
    assert [None if v is None else v.name for v in node.inputs] == ["x", None, "x"]
    ir.replace_input(node, 2, None)
    assert len(ir.uses(model.graph.inputs[0])) == 1


def test_redirect_moves_readers_in_subgraphs():
    model = ir.from_text(CAPTURE)
    ir.redirect(value(model, "h"), value(model, "g"))
    assert [(use.node.op_type, use.node.graph.name) for use in ir.uses(value(model, "g"))] == [
        ("Abs", "e"),
        ("Abs", "t"),
    ]
    assert ir.uses(value(model, "h")) == ()
    reload(model)


def test_redirect_of_some_readers_leaves_the_others():
    model = ir.from_text(HEADER + "net (float[4] x) => (float[4] y) { a = Relu (x) y = Add (a, a) }")
    a = value(model, "a")
    ir.redirect(a, model.graph.inputs[0], [ir.uses(a)[1]])
    assert [v.name for v in model.graph[1].inputs] == ["a", "x"]


def test_redirect_of_some_readers_leaves_the_graph_output():
    model = ir.from_text(CHAIN)
    y = value(model, "y")
    ir.redirect(y, value(model, "a"), ir.uses(y))
    assert outputs(model) == ["y", "z"]
    assert model.graph.outputs[0] is y
    assert model.graph[2].inputs[0].name == "a"


def test_redirected_graph_output_keeps_its_name_and_is_still_read():
    model = ir.from_text(CHAIN)
    y, a = value(model, "y"), value(model, "a")
    ir.redirect(y, a)
    assert outputs(model) == ["y", "z"]
    assert (a.name, y.name) == ("y", "a")
    assert model.graph.outputs[0] is a
    assert model.graph[2].inputs[0] is a
    ir.remove_node(model.graph[1])
    back = reload(model)
    assert [n.op_type for n in back.graph] == ["Relu", "Abs"]
    assert ir.dims_of(back.graph.outputs[0]) == (4,)


def test_constant_can_take_over_a_graph_output():
    model = ir.from_text(HEADER + "net (float[4] x) => (float[4] y) { y = Relu (x) }")
    weight = ir.add_initializer(model.graph, "w", np.ones(4, np.float32))
    ir.redirect(model.graph.outputs[0], weight)
    ir.remove_node(model.graph[0])
    assert outputs(model) == ["y"]
    assert list(model.graph.initializers) == ["y"]
    reload(model)


def test_constant_output_can_be_taken_over():
    model = ir.from_text(HEADER + "net (float[4] x) => (float[4] y) { y = Relu (x) }")
    weight = ir.add_initializer(model.graph, "w", np.ones(4, np.float32))
    model.graph.outputs.append(weight)
    node = ir.new_node("Neg", [model.graph.inputs[0]], name="n")
    ir.insert_after(model.graph[0], node)
    ir.redirect(weight, node.outputs[0])
    assert outputs(model) == ["y", "w"]
    assert node.outputs[0].name == "w"
    assert ir.remove_unused(model) == 1
    reload(model)


@pytest.mark.parametrize("replacement", ["x", "z"])
def test_input_or_other_output_takes_over_an_output_through_an_identity(replacement):
    model = ir.from_text(HEADER + "net (float[4] x) => (float[4] y, float[4] z) { y = Relu (x) z = Neg (x) }")
    target = model.graph.inputs[0] if replacement == "x" else model.graph.outputs[1]
    ir.redirect(model.graph.outputs[0], target)
    assert outputs(model) == ["y", "z"]
    assert target.name == replacement
    assert model.graph[-1].op_type == "Identity"
    assert model.graph[-1].inputs[0] is target
    ir.remove_unused(model)
    reload(model)


def test_redirect_to_itself_changes_nothing():
    model = ir.from_text(CHAIN)
    before = ir.to_bytes(model)
    ir.redirect(value(model, "y"), value(model, "y"))
    assert ir.to_bytes(model) == before


def test_who_takes_an_output_over_keeps_the_sizes_and_names_that_it_was_declared_with():
    model = ir.from_text(
        """<ir_version: 8, opset_import: ["": 17]> net (float[N, 3, 4] x) => (float[N, 3, K] y) <float[N, 3, A] a> {
          a = Relu (x) y = Neg (a) }"""
    )
    first, last = model.graph
    first.outputs[0].shape = ir.Shape([None, 3, None])
    ir.redirect(last.outputs[0], first.outputs[0])
    assert [ir.dims_of(value) for value in model.graph.outputs] == [("N", 3, "K")]


@pytest.mark.parametrize("replaced", ["a", "z"])
def test_who_takes_the_place_of_a_node_has_its_readers_name_and_sizes(replaced):
    """Also where it is an output of the graph."""
    model = ir.from_text(CHAIN)
    ir.infer_shapes(model)
    old = value(model, replaced).producer()
    new = ir.new_node("Softplus", old.inputs, name="new")
    ir.insert_before(old, new)
    ir.replace_node(old, new.outputs[0])
    assert old not in model.graph
    assert new.outputs[0].name == replaced
    assert ir.dims_of(new.outputs[0]) == (4,)
    assert outputs(model) == ["y", "z"]
    reload(model)


def test_a_piece_needs_nothing_of_what_bodies_compute_for_themselves() -> None:
    text = """<ir_version: 8, opset_import: ["": 17]> g (float[2] x, int64 n, bool c) => (float[2] y) {
      r = Relu (x) [loop] y = Loop (n, c, x) <body = b (int64 i, bool k, float[2] s) => (bool again, float[2] t) {
        again = Identity (k) m = Mul (s, r) t = Neg (m) }> }"""
    model = ir.from_text(text)
    assert [str(value.name) for value in ir.extract(model, ["y"]).graph.inputs] == ["n", "c", "x"]
    assert [str(value.name) for value in ir.extract(model, ["y"], ["r"]).graph.inputs] == ["n", "c", "x", "r"]
