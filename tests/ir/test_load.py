"""What is taken, what is refused and why, and what is mended on the way in."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from corpus import SHARED, needs_shared
from onnx import TensorProto, helper, numpy_helper
from onnx_check import full_check

from amct_lite import ir
from amct_lite.errors import UnsupportedModelError

STRUCTURE = SHARED / "corpus" / "structure"


def info(name, shape=("N", 4), dtype=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, dtype, shape)


def proto_of(nodes, *, initializers=(), inputs=("x",), outputs=("y",), opset=17, ir_version=8, functions=(), domains=()):
    graph = helper.make_graph(nodes, "g", [info(n) for n in inputs], [info(n) for n in outputs], list(initializers))
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)]
    return helper.make_model(graph, opset_imports=imports, ir_version=ir_version, functions=list(functions))


RELU = helper.make_node("Relu", ["x"], ["y"])


def refuse(proto, match, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(UnsupportedModelError, match=match):
        ir.load(path)


def names(model):
    return [node.name for node in model.graph]


def test_missing_file_is_named(tmp_path):
    with pytest.raises(UnsupportedModelError, match=r"absent\.onnx does not exist. Check the path"):
        ir.load(tmp_path / "absent.onnx")


def test_directory_is_refused_and_its_models_are_listed(tmp_path):
    (tmp_path / "inner.onnx").write_bytes(b"")
    with pytest.raises(UnsupportedModelError, match=r"is a directory, not an ONNX file. It holds inner\.onnx"):
        ir.load(tmp_path)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0",
            r"is not an ONNX model, but a pointer of Git LFS to one: fetch the file itself \(git lfs pull\)\.",
        ),
        (b"PK\x03\x04 not a model", "does not parse as protobuf.*the weights of a model .give the .onnx file beside"),
        ("record { key: 'größer' }".encode(), "is not an ONNX model, but text: give the .onnx file of the model"),
        ("ö".encode() * 1000, "is not an ONNX model, but text"),
        (b"", "holds no graph"),
    ],
)
def test_file_that_is_not_onnx_is_refused(tmp_path, content, match):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(UnsupportedModelError, match=match):
        ir.load(path)


def test_training_info_is_refused(tmp_path):
    proto = proto_of([RELU])
    proto.training_info.add()
    refuse(proto, "training_info, which would be lost. Export the model for inference", tmp_path)


def test_sparse_initializer_is_refused_also_in_a_subgraph(tmp_path):
    sparse = helper.make_sparse_tensor(
        numpy_helper.from_array(np.ones(1, np.float32), "sparse_w"), numpy_helper.from_array(np.zeros(1, np.int64)), [4]
    )
    proto = proto_of([RELU])
    proto.graph.sparse_initializer.append(sparse)
    refuse(proto, "initializer 'sparse_w' as a sparse tensor", tmp_path)
    branch = helper.make_graph([helper.make_node("Identity", ["x"], ["b"])], "branch", [], [info("b")])
    branch.sparse_initializer.append(sparse)
    nodes = [helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)]
    constant = numpy_helper.from_array(np.array(True), "c")
    refuse(proto_of(nodes, initializers=[constant]), "initializer 'sparse_w' as a sparse tensor", tmp_path)


def test_opset_below_seven_is_refused(tmp_path):
    refuse(proto_of([RELU], opset=6), "has opset 6; opsets from 7 on are supported", tmp_path)


def test_opset_newer_than_onnx_is_refused(tmp_path):
    newer = onnx.defs.onnx_opset_version() + 1
    refuse(proto_of([RELU], opset=newer), f"has opset {newer}; the installed onnx .* knows opsets up to", tmp_path)


def test_ir_version_newer_than_onnx_is_refused(tmp_path):
    refuse(proto_of([RELU], ir_version=onnx.IR_VERSION + 1), "IR version .* Update onnx", tmp_path)


def test_missing_opset_is_refused_where_an_operator_needs_one(tmp_path):
    proto = proto_of([RELU])
    del proto.opset_import[:]
    refuse(proto, "does not say which opset it follows, but a Relu node without name", tmp_path)


def test_model_of_custom_operators_alone_gets_an_opset(tmp_path):
    proto = proto_of([helper.make_node("Special", ["x"], ["y"], domain="acme")], domains=["acme"])
    del proto.opset_import[0]
    path = tmp_path / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    loaded = ir.load(path)
    assert ir.opset(loaded.model) == 17
    assert any("imports no ONNX opset" in note for note in loaded.notes)


def test_long_name_of_the_default_domain_is_understood():
    proto = proto_of([RELU])
    proto.opset_import[0].domain = "ai.onnx"
    assert ir.opset(ir.load_bytes(proto.SerializeToString())) == 17


@pytest.mark.parametrize(
    ("nodes", "match"),
    [
        (
            [helper.make_node("Add", ["x", "lost"], ["y"], name="sum")],
            r"node 'sum' \(Add\) reads 'lost', which nothing",
        ),
        (
            [RELU, helper.make_node("Relu", ["x"], ["y"], name="r")],
            r"'y' is defined twice, the second time by node 'r'",
        ),
        ([helper.make_node("Relu", ["x"], ["x"], name="r")], "'x' is defined twice"),
        ([helper.make_node("Relu", ["x"], ["z"])], "no node of graph 'g' produces its output 'y'"),
        (
            [helper.make_node("Add", ["x", "b"], ["a"]), helper.make_node("Relu", ["a"], ["b"]), RELU],
            "has a cycle: some nodes wait",
        ),
    ],
)
def test_graph_that_cannot_be_executed_is_refused(tmp_path, nodes, match):
    refuse(proto_of(nodes), match, tmp_path)


def test_values_defined_twice_are_refused(tmp_path):
    refuse(proto_of([RELU], inputs=("x", "x")), "'x' is defined twice", tmp_path)
    constant = numpy_helper.from_array(np.ones(4, np.float32), "w")
    refuse(proto_of([RELU], initializers=[constant, constant]), "'w' is defined twice", tmp_path)
    refuse(proto_of([RELU], initializers=[numpy_helper.from_array(np.ones(4, np.float32))]), "without a name", tmp_path)


def damaged(change):
    tensor = numpy_helper.from_array(np.ones(4, np.float32), "w")
    change(tensor)
    return tensor


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda t: setattr(t, "raw_data", b"12"), "'w' holds 2 bytes or entries, but its shape and type need 16"),
        (lambda t: t.dims.append(2), "need 32"),
        (lambda t: t.dims.append(-1), "negative dimension"),
        (lambda t: setattr(t, "data_type", 99), "type 99, which onnx does not know"),
        (lambda t: setattr(t, "data_type", 0), "has no type"),
        (lambda t: (t.ClearField("raw_data"), t.float_data.extend([1, 2])), "holds 2 .* need 4"),
    ],
)
def test_tensor_that_does_not_hold_what_it_says_is_refused(tmp_path, change, match):
    refuse(proto_of([RELU], initializers=[damaged(change)]), match, tmp_path)
    constant = helper.make_node("Constant", [], ["w"], value=damaged(change))
    refuse(proto_of([constant, RELU]), match, tmp_path)


def test_attribute_that_cannot_be_written_back_is_refused(tmp_path):
    node = helper.make_node("Special", ["x"], ["y"], name="s", domain="acme", blob=b"\xff\xfe")
    refuse(proto_of([node], domains=["acme"]), r"attribute 'blob' of node 's' \(Special\) holds bytes", tmp_path)
    node = helper.make_node("Special", ["x"], ["y"], name="s", domain="acme", key=1)
    node.attribute[0].type = 0
    refuse(proto_of([node], domains=["acme"]), "attribute 'key' of node 's' .* has no type", tmp_path)


def test_name_that_is_not_text_is_refused(tmp_path):
    path = tmp_path / "model.onnx"
    node = helper.make_node("Relu", ["x"], ["y"], name="name_of_node")
    path.write_bytes(proto_of([node]).SerializeToString().replace(b"name_of_node", b"\xff\xfename_of_no"))
    with pytest.raises(UnsupportedModelError, match=r"is not a valid ONNX model: .*utf-8.* Export it again"):
        ir.load(path)


@pytest.mark.parametrize("dtype", [TensorProto.INT4, TensorProto.BFLOAT16, TensorProto.COMPLEX64, TensorProto.BOOL])
def test_typed_fields_of_every_layout_are_taken(dtype):
    tensor = helper.make_tensor("w", dtype, [3], [1, 0, 1])
    model = ir.load_bytes(proto_of([RELU], initializers=[tensor], ir_version=10, opset=21).SerializeToString())
    assert len(ir.constant_of(model.graph.initializers["w"])) == 3


def test_undefined_input_in_a_subgraph_or_function_is_refused(tmp_path):
    branch = helper.make_graph([helper.make_node("Relu", ["lost"], ["b"])], "branch", [], [info("b")])
    condition = numpy_helper.from_array(np.array(True), "c")
    nodes = [helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)]
    refuse(proto_of(nodes, initializers=[condition]), "reads 'lost', which nothing produces", tmp_path)
    body = helper.make_function("acme", "F", ["a"], ["b"], [helper.make_node("Relu", ["lost"], ["b"])], [])
    call = helper.make_node("F", ["x"], ["y"], domain="acme")
    refuse(proto_of([call], functions=[body], domains=["acme"]), r"function acme\.F of .* reads 'lost'", tmp_path)
    open_end = helper.make_function("acme", "F", ["a"], ["c"], [helper.make_node("Relu", ["a"], ["b"])], [])
    refuse(proto_of([call], functions=[open_end], domains=["acme"]), "does not produce its output 'c'", tmp_path)


def test_a_function_that_calls_itself_is_refused(tmp_path):
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("acme", 1)]
    bodies = [
        helper.make_function("acme", name, ["a"], ["b"], [helper.make_node(other, ["a"], ["b"], domain="acme")], imports)
        for name, other in (("F", "G"), ("G", "F"))
    ]
    call = helper.make_node("F", ["x"], ["y"], domain="acme")
    refuse(proto_of([call], functions=bodies, domains=["acme"]), r"calls itself \(acme\.. → acme\.. → acme\..\)", tmp_path)


def test_outer_value_read_in_a_subgraph_is_found():
    branch = helper.make_graph([helper.make_node("Relu", ["x"], ["b"])], "branch", [], [info("b")])
    condition = numpy_helper.from_array(np.array(True), "c")
    nodes = [helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)]
    branch.name = "same"
    model = ir.load_bytes(proto_of(nodes, initializers=[condition]).SerializeToString())
    assert len(ir.uses(model.graph.inputs[0])) == 2


def test_unsorted_nodes_are_sorted(tmp_path):
    nodes = [helper.make_node("Relu", ["h"], ["y"], name="second"), helper.make_node("Neg", ["x"], ["h"], name="first")]
    path = tmp_path / "model.onnx"
    path.write_bytes(proto_of(nodes).SerializeToString())
    loaded = ir.load(path)
    assert names(loaded.model) == ["first", "second"]
    assert any("have been sorted" in note for note in loaded.notes)


def test_node_whose_subgraph_reads_a_later_value_is_sorted():
    branch = helper.make_graph([helper.make_node("Relu", ["h"], ["b"])], "branch", [], [info("b")])
    condition = numpy_helper.from_array(np.array(True), "c")
    nodes = [
        helper.make_node("If", ["c"], ["y"], name="if", then_branch=branch, else_branch=branch),
        helper.make_node("Neg", ["x"], ["h"], name="neg"),
    ]
    assert names(ir.load_bytes(proto_of(nodes, initializers=[condition]).SerializeToString())) == ["neg", "if"]


def test_initializers_among_the_inputs_become_constants(tmp_path):
    weight = numpy_helper.from_array(np.ones((1, 4), np.float32), "w")
    nodes = [helper.make_node("Add", ["x", "w"], ["y"])]
    path = tmp_path / "model.onnx"
    path.write_bytes(proto_of(nodes, initializers=[weight], inputs=("x", "w"), ir_version=3, opset=8).SerializeToString())
    loaded = ir.load(path)
    assert [value.name for value in loaded.model.graph.inputs] == ["x"]
    assert ir.constant_of(loaded.model.graph.initializers["w"]) is not None
    assert any("also listed as graph inputs are taken as constants (1)" in note for note in loaded.notes)
    full_check(loaded.model)


def test_sizes_below_zero_are_open(tmp_path):
    """As Paddle's exporter writes them."""
    proto = helper.make_model(helper.make_graph([RELU], "g", [info("x", (-1, 4))], [info("y", (-1, 4))]))
    onnx.save(proto, tmp_path / "m.onnx")
    graph = ir.load(tmp_path / "m.onnx").model.graph
    assert ir.dims_of(graph.inputs[0]) == ir.dims_of(graph.outputs[0]) == (None, 4)


def test_metadata_custom_domains_and_functions_survive():
    body = helper.make_function(
        "acme", "F", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])], [helper.make_opsetid("", 17)]
    )
    proto = proto_of([helper.make_node("F", ["x"], ["y"], domain="acme")], functions=[body], domains=["acme"])
    helper.set_model_props(proto, {"author": "somebody"})
    model = ir.load_bytes(ir.to_bytes(ir.load_bytes(proto.SerializeToString())))
    assert model.metadata_props == {"author": "somebody"}
    assert ("acme", "F", "") in model.functions
    assert model.opset_imports["acme"] == 1


@needs_shared
@pytest.mark.parametrize("path", sorted(STRUCTURE.glob("**/*.onnx")), ids=lambda path: path.stem)
def test_every_structure_model_loads_with_unique_node_names(path: Path):
    loaded = ir.load(path)
    found = [node.name for node in loaded.model.graph.all_nodes()]
    assert all(found)
    assert len(found) == len(set(found))
    assert loaded.path == path


def test_an_input_that_is_also_an_output_keeps_its_shape(tmp_path):
    """onnx-ir describes the value by the output, which may say less."""
    proto = proto_of([RELU], outputs=("y", "x"))
    proto.graph.output[1].type.tensor_type.ClearField("shape")
    onnx.save(proto, tmp_path / "m.onnx")
    (value,) = ir.load(tmp_path / "m.onnx").model.graph.inputs
    assert ir.dims_of(value) == ("N", 4)
