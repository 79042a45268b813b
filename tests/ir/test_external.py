"""External data: hostile and damaged locations are refused, valid ones stay on the disk."""

import os
import shutil

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from amct_lite import ir
from amct_lite.errors import UnsupportedModelError

WEIGHTS = np.arange(8, dtype=np.float32)


def external(location, *, offset=None, length=None, dims=(8,)):
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=dims, data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, "offset": offset, "length": length}.items():
        if value is not None:
            tensor.external_data.add(key=key, value=str(value))
    return tensor


def write(folder, tensor, *, as_attribute=False):
    folder.mkdir(exist_ok=True)
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [8]) for name in "xy"]
    nodes = [helper.make_node("Add", ["x", "w"], ["y"])]
    constants = [] if as_attribute else [tensor]
    if as_attribute:
        nodes.insert(0, helper.make_node("Constant", [], ["w"], value=tensor))
    graph = helper.make_graph(nodes, "g", info[:1], info[1:], constants)
    path = folder / "model.onnx"
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString())
    return path


@pytest.fixture
def folder(tmp_path):
    inside = tmp_path / "model"
    inside.mkdir()
    (tmp_path / "secret").write_bytes(WEIGHTS.tobytes())
    (inside / "w.bin").write_bytes(WEIGHTS.tobytes())
    return inside


@pytest.mark.parametrize("as_attribute", [False, True])
@pytest.mark.parametrize("location", ["../secret", "sub/../../secret", "/etc/passwd", "..\\secret", "C:\\secret", ""])
def test_location_outside_of_the_folder_is_refused(folder, location, as_attribute):
    path = write(folder, external(location), as_attribute=as_attribute)
    with pytest.raises(UnsupportedModelError, match=r"outside of the model's folder\. Only files inside it are read"):
        ir.load(path)


def test_link_that_leads_outside_is_refused(folder):
    os.symlink(folder.parent / "secret", folder / "link")
    with pytest.raises(UnsupportedModelError, match="a link that leads outside of the model's folder"):
        ir.load(write(folder, external("link")))


def test_file_with_several_hard_links_is_refused(folder):
    os.link(folder.parent / "secret", folder / "hard")
    with pytest.raises(UnsupportedModelError, match="several hard links"):
        ir.load(write(folder, external("hard")))


def test_missing_data_file_is_named(folder):
    with pytest.raises(UnsupportedModelError, match=r"data of 'w' lie in 'absent', which does not exist"):
        ir.load(write(folder, external("absent")))


def test_folder_as_data_is_refused(folder):
    (folder / "sub").mkdir()
    with pytest.raises(UnsupportedModelError, match="which is not a file"):
        ir.load(write(folder, external("sub")))


@pytest.mark.parametrize(
    ("tensor", "match"),
    [
        (external("w.bin", offset=4), r"from byte 4 to 36, but the file has 32 bytes"),
        (external("w.bin", offset=-4), r"from byte -4"),
        (external("w.bin", length=16), r"length of 16 bytes, but its shape and type need 32"),
        (external("w.bin", offset="zero"), r"not a number"),
        (external("w.bin", dims=(-8,)), r"type or shape that external data cannot have"),
    ],
)
def test_extent_that_does_not_fit_the_file_is_refused(folder, tensor, match):
    with pytest.raises(UnsupportedModelError, match=match):
        ir.load(write(folder, tensor))


def test_initializer_stays_in_its_file_and_is_read_on_demand(folder, monkeypatch):
    path = write(folder, external("w.bin"))
    monkeypatch.chdir(folder)
    model = ir.load("model.onnx").model
    monkeypatch.chdir(folder.parent)  # the place of the data does not hang on the working directory
    assert isinstance(model.graph.initializers["w"].const_value, ir.ExternalTensor)
    np.testing.assert_array_equal(ir.constant_of(model.graph.initializers["w"]), WEIGHTS)
    assert path.exists()


def test_constant_node_is_read_in(folder):
    path = write(folder, external("w.bin"), as_attribute=True)
    model = ir.load(path).model
    shutil.rmtree(folder)
    np.testing.assert_array_equal(ir.attribute(model.graph[0], "value", None), WEIGHTS)


def test_bytes_contain_external_weights_and_the_model_keeps_them_outside(folder):
    model = ir.load(write(folder, external("w.bin"))).model
    proto = onnx.ModelProto.FromString(ir.to_bytes(model))
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(proto.graph.initializer[0]), WEIGHTS)
    assert isinstance(model.graph.initializers["w"].const_value, ir.ExternalTensor)


def test_bytes_with_external_data_are_refused(folder):
    data = write(folder, external("w.bin")).read_bytes()
    with pytest.raises(UnsupportedModelError, match="came as bytes and has no folder"):
        ir.load_bytes(data)


def test_shapes_in_external_files_are_seen_by_shape_inference(tmp_path):
    """An exporter that moves every tensor out moves the pads of a Pad, too."""
    text = """<ir_version: 8, opset_import: ["": 17]> g (float[1,2] x) => (float[1,N] y) <int64[4] p = {0, 1, 0, 2}> {
        y = Pad (x, p) }"""
    path = tmp_path / "model.onnx"
    parsed = onnx.parser.parse_model(text)
    pads = onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(parsed.graph.initializer[0]), "p")  # as raw bytes
    parsed.graph.initializer[0].CopyFrom(pads)
    onnx.save(parsed, path, save_as_external_data=True, location="w.bin", size_threshold=0)
    assert onnx.load(path, load_external_data=False).graph.initializer[0].external_data
    model = ir.load(path).model
    ir.infer_shapes(model)
    assert ir.dims_of(model.graph.outputs[0]) == (1, 5)
    parsed = onnx.ModelProto.FromString(ir.to_bytes(model))
    assert not parsed.graph.initializer[0].HasField("data_location"), "the same bytes as from a model in one file"


def test_a_linked_model_whose_data_lie_beside_its_target_says_so(folder, tmp_path):
    target = write(folder, external("w.bin"))
    link = tmp_path / "link.onnx"
    link.symlink_to(target)
    with pytest.raises(UnsupportedModelError, match=f"The model is a link; if its data lie beside {target}, give that path"):
        ir.load(link)
    assert ir.load(target)
