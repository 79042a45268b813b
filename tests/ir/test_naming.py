"""Names are unique, stable, and depend on the graph alone."""

import numpy as np

from amct_lite import ir

HEADER = '<ir_version: 8, opset_import: ["" : 17]>\n'
TEXT = HEADER + "net (float[4] x) => (float[4] y) { a = Relu (x) b = Neg (a) y = Relu (b) }"
BRANCHES = (
    HEADER
    + """net (bool c, float[4] x) => (float[4] y) {
  h = Relu (x)
  y = If (c) <then_branch = t () => (float[4] a) { a = Relu (h) }, else_branch = e () => (float[4] b) { b = Neg (h) }>
}"""
)


def names(model):
    return [node.name for node in model.graph.all_nodes()]


def test_nodes_without_name_are_named_by_type_and_place():
    assert names(ir.from_text(TEXT)) == ["Relu_0", "Neg_1", "Relu_2"]


def test_repeated_names_get_a_number_that_is_free():
    model = ir.from_text(TEXT)
    first, second, third = model.graph
    first.name, second.name, third.name = "same", "same_1", "same"
    notes = ir.name_nodes(model)
    assert names(model) == ["same", "same_1", "same_2"]
    assert notes == ("nodes with the name of another node got a number (1)",)
    assert ir.name_nodes(model) == ()


def test_given_names_go_before_made_ones():
    model = ir.from_text(TEXT)
    model.graph[0].name, model.graph[2].name = "", "Relu_0"
    notes = ir.name_nodes(model)
    assert names(model) == ["Relu_0_1", "Neg_1", "Relu_0"]
    assert notes == ("nodes without a name were named after their type and place in the graph (1)",)


def test_main_graph_keeps_a_name_that_a_subgraph_bears_too():
    model = ir.from_text(BRANCHES)
    by_type = {node.op_type: node for node in model.graph.all_nodes()}
    assert len(set(names(model))) == 4
    by_type["Neg"].name = "If_1"
    ir.name_nodes(model)
    assert model.graph[1].name == "If_1"
    assert by_type["Neg"].name == "If_1_1"


def test_unique_name_avoids_nodes_values_and_initializers_also_of_subgraphs():
    model = ir.from_text(BRANCHES)
    ir.add_initializer(model.graph, "w", np.zeros(1))
    taken = ("x", "h", "y", "a", "b", "c", "w", "If_1")
    assert [ir.unique_name(model.graph, name) for name in taken] == [f"{name}_1" for name in taken]


def test_unique_name_leaves_the_output_of_a_node_its_name():
    """A constant that a node called `moved` was folded into bears that name: models of this package are taken again."""
    model = ir.from_text(TEXT)
    ir.add_initializer(model.graph, "moved.output0", np.zeros(2, np.float32))
    assert ir.unique_name(model.graph, "moved") == "moved_1"


def test_unique_name_is_given_out_once():
    graph = ir.from_text(TEXT).graph
    assert [ir.unique_name(graph, "x") for _ in range(3)] == ["x_1", "x_2", "x_3"]
    assert [ir.unique_name(graph, "new") for _ in range(2)] == ["new", "new_1"]


def test_unique_name_sees_nodes_inserted_by_others_and_by_edits():
    graph = ir.from_text(TEXT).graph
    ir.unique_name(graph, "warm")
    graph.append(ir.new_node("Neg", [graph.inputs[0]], name="late", outputs=["late.value"]))
    assert ir.unique_name(graph, "late") == "late_1"
    ir.insert_before(graph[0], ir.new_node("Neg", [graph.inputs[0]], name="early", outputs=["early.value"]))
    assert ir.unique_name(graph, "early.value") == "early.value_1"
    assert ir.add_initializer(graph, "early", np.zeros(1)).name == "early_1"
    assert ir.add_initializer(graph, "early", np.zeros(1)).name == "early_2"


def test_unique_name_sees_the_names_inside_of_an_inserted_if():
    model = ir.from_text(TEXT)
    ir.unique_name(model.graph, "warm")
    body = ir.from_text(HEADER + "body () => (float[1] inner) { inner = Constant <value_floats = [1.0]> () }").graph
    condition = ir.add_initializer(model.graph, "condition", np.array(True))
    node = ir.new_node("If", [condition], name="if", attributes={"then_branch": body})
    ir.insert_before(model.graph[0], node)
    assert ir.unique_name(model.graph, "inner") == "inner_1"
