"""Writing: the same model gives the same bytes, in one file or with external data; checksums; the full check."""

import numpy as np
import onnx
import pytest

from amct_lite import ir
from amct_lite.errors import ExportError
from amct_lite.ir import writing

TEXT = """<ir_version: 8, opset_import: ["" : 17]>
net (float[N, 512] x) => (float[N, 512] y) {
  scaled = Mul (x, x)
  y = Relu (scaled)
}"""


def model_with_weights(size=512):
    model = ir.from_text(TEXT)
    weight = ir.add_initializer(model.graph, "w", np.arange(size, dtype=np.float32))
    ir.replace_input(model.graph[0], 1, weight)
    return model


@pytest.fixture
def small_limit(monkeypatch):
    monkeypatch.setattr(writing, "EXTERNAL_FROM", 1000)


def test_two_saves_are_identical(tmp_path):
    model = model_with_weights()
    for name in ("a.onnx", "b.onnx"):
        ir.save(model, tmp_path / name)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes() == ir.to_bytes(model)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.onnx", "b.onnx"]


def test_large_model_is_written_with_external_data_and_reads_back(tmp_path, small_limit):
    model = model_with_weights()
    ir.save(model, tmp_path / "big.onnx")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["big.onnx", "big.onnx.data"]
    back = ir.load(tmp_path / "big.onnx").model
    assert isinstance(back.graph.initializers["w"].const_value, ir.ExternalTensor)
    assert ir.checksum(back) == ir.checksum(model)
    assert not isinstance(model.graph.initializers["w"].const_value, ir.ExternalTensor)


def test_large_model_is_written_the_same_each_time(tmp_path, small_limit):
    contents = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        ir.save(model_with_weights(), tmp_path / name / "big.onnx")
        contents.append([(tmp_path / name / file).read_bytes() for file in ("big.onnx", "big.onnx.data")])
    assert contents[0] == contents[1]


def test_large_external_model_can_be_saved_elsewhere(tmp_path, small_limit):
    ir.save(model_with_weights(), tmp_path / "big.onnx")
    loaded = ir.load(tmp_path / "big.onnx").model
    (tmp_path / "other").mkdir()
    ir.save(loaded, tmp_path / "other" / "copy.onnx")
    assert (tmp_path / "other" / "copy.onnx.data").read_bytes() == (tmp_path / "big.onnx.data").read_bytes()
    assert ir.checksum(ir.load(tmp_path / "other" / "copy.onnx").model) == ir.checksum(loaded)


def test_unwritable_place_is_an_export_error(tmp_path):
    with pytest.raises(ExportError, match="cannot be written: No such file or directory"):
        ir.save(model_with_weights(), tmp_path / "absent" / "model.onnx")


def test_clone_is_independent():
    model = model_with_weights()
    before = ir.to_bytes(model)
    copy = ir.clone(model)
    copy.graph[0].name = "renamed"
    ir.add_initializer(copy.graph, "w", np.zeros(3, np.float32))
    ir.set_attribute(copy.graph[1], "extra", 1)
    assert ir.to_bytes(model) == before


def test_names_given_out_for_a_clone_do_not_depend_on_the_original():
    model = model_with_weights()
    given = [ir.unique_name(ir.clone(model).graph, "w") for _ in range(2)]
    ir.unique_name(model.graph, "w")
    assert [*given, ir.unique_name(ir.clone(model).graph, "w")] == ["w_1"] * 3


def test_checksum_sees_what_is_computed():
    reference = ir.checksum(model_with_weights())
    changed = []
    for edit in (
        lambda m: ir.add_initializer(m.graph, "w2", np.zeros(3, np.float32)),
        lambda m: ir.set_attribute(m.graph[1], "alpha", 0.5),
        lambda m: ir.set_attribute(m.graph[1], "beta", 0.5),
        lambda m: setattr(m.graph[0], "op_type", "Add"),
        lambda m: setattr(m.graph[0], "name", "other"),
        lambda m: m.opset_imports.update({"": 18}),
        lambda m: ir.replace_input(m.graph[1], 0, m.graph.inputs[0]),
        lambda m: ir.add_function(m, '<domain: "d", opset_import: ["" : 17]> F (a) => (b) { b = Neg (a) }'),
    ):
        model = model_with_weights()
        edit(model)
        changed.append(ir.checksum(model))
    assert len({reference, *changed}) == len(changed) + 1


def test_checksum_does_not_see_the_rest(tmp_path):
    model = model_with_weights()
    reference = ir.checksum(model)
    model.producer_name, model.doc_string = "somebody", "text"
    model.graph[0].doc_string = "text"
    model.metadata_props["key"] = "value"
    ir.infer_shapes(model)
    assert ir.checksum(model) == reference
    ir.save(model, tmp_path / "model.onnx")
    assert ir.checksum(ir.load(tmp_path / "model.onnx").model) == reference


def test_checksum_does_not_see_the_order_of_initializers():
    orders = ("float[1] a = {1}, float[1] b = {2}", "float[1] b = {2}, float[1] a = {1}")
    text = '<ir_version: 8, opset_import: ["" : 17]> g (float[1] x) => (float[1] y) <ORDER> { z = Add (x, a) y = Mul (z, b) }'
    first, second = (ir.from_text(text.replace("ORDER", order)) for order in orders)
    assert list(first.graph.initializers) != list(second.graph.initializers)
    assert ir.checksum(first) == ir.checksum(second)


def test_checksum_is_stable():
    """Written down once: records of older runs must still fit."""
    assert ir.checksum(ir.from_text(TEXT)).startswith("bfbc4cc73fd17ab4")


def test_checksum_of_strings_and_subgraphs():
    text = """<ir_version: 8, opset_import: ["" : 17]>
    net (bool c, float[4] x) => (float[4] y) {
      y = If (c) <then_branch = t () => (float[4] a) { a = Relu (x) },
                  else_branch = e () => (float[4] b) { b = Neg (x) }>
    }"""
    sums = {ir.checksum(ir.from_text(text)), ir.checksum(ir.from_text(text.replace("Neg", "Abs")))}
    for words in (["a", "b"], ["ab", ""]):
        model = ir.from_text(text)
        ir.add_initializer(model.graph, "s", np.array(words, dtype=object))
        sums.add(ir.checksum(model))
        assert ir.checksum(ir.load_bytes(ir.to_bytes(model))) in sums
    assert len(sums) == 4


def test_text_is_onnx_text():
    with pytest.raises(onnx.parser.ParseError):
        ir.from_text("no graph")
