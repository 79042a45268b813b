"""Weights that stay in the model's own file: the model is the one that reading all of it gives."""

import numpy as np
import onnx
import pytest

from amct_lite import ir
from amct_lite.errors import UnsupportedModelError
from amct_lite.ir import embedded, stored, writing
from amct_lite.runtime import RuntimeOptions, open_session

TEXT = """<ir_version: 8, opset_import: ["" : 17]>
net (float[N, 64] x) => (float[N, 64] y) { a = MatMul (x, x) b = Add (a, a) y = Mul (b, b) }"""


@pytest.fixture
def file(tmp_path):
    """Two large weights with a small one between them, and fields on both sides of the graph."""
    model = ir.from_text(TEXT)
    random = np.random.default_rng(0)
    arrays = (random.random((64, 64), np.float32), random.random((3,), np.float32), random.random((64,), np.float32))
    for node, name, array in zip(tuple(model.graph), "wcs", (arrays[0], arrays[2], arrays[2]), strict=True):
        ir.replace_input(node, 1, ir.add_initializer(model.graph, name, array))
    ir.add_initializer(model.graph, "few", arrays[1])
    model.metadata_props["key"] = "value"
    model.graph.doc_string = "of the graph"
    ir.save(model, tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


@pytest.fixture
def left_in_file(monkeypatch):
    monkeypatch.setattr(embedded, "FROM", 1)
    for module in (stored, writing, embedded):
        monkeypatch.setattr(module, "LARGE", 256)


def test_the_model_is_that_of_reading_all(file, left_in_file, monkeypatch):
    model = ir.load(file).model
    assert {name for name, v in model.graph.initializers.items() if isinstance(v.const_value, ir.ExternalTensor)} == set("wcs")
    assert ir.to_bytes(model) == file.read_bytes()
    with monkeypatch.context() as context:
        context.setattr(embedded, "FROM", 1 << 40)
        assert ir.checksum(ir.load(file).model) == ir.checksum(model)


def test_it_runs_and_travels(file, left_in_file):
    """Data in the middle of a file need not lie where a kernel could read them."""
    model = ir.load(file).model
    assert any(v.const_value.offset % 4 for v in model.graph.initializers.values() if hasattr(v.const_value, "offset"))
    feeds = {"x": np.linspace(-1, 1, 128, dtype=np.float32).reshape(2, 64)}
    (expected,) = open_session(file, RuntimeOptions()).run(feeds)
    np.testing.assert_array_equal(open_session(model, RuntimeOptions()).run(feeds)[0], expected)
    with ir.packed(model, same_files=True) as sent:
        assert len(sent.graph) < 2000
        np.testing.assert_array_equal(open_session(sent, RuntimeOptions()).run(feeds)[0], expected)
        assert ir.checksum(ir.unpacked(sent)) == ir.checksum(model)


def test_fewer_data_than_the_shape_needs_are_refused(file, left_in_file):
    proto = onnx.load(file)
    proto.graph.initializer[0].dims[0] = 65
    file.write_bytes(proto.SerializeToString())
    with pytest.raises(UnsupportedModelError, match=r"'w' holds 16384 bytes or entries, but its shape and type need 16640"):
        ir.load(file)


@pytest.mark.parametrize("cut", [1, 3, 300, 2000, 17_000])
def test_a_truncated_file_is_refused(file, left_in_file, cut):
    file.write_bytes(file.read_bytes()[:-cut])
    with pytest.raises(UnsupportedModelError, match=r"does not parse as protobuf|holds no graph"):
        ir.load(file)


@pytest.mark.parametrize(
    "content", [b"\xff" * 100, b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"version https://git-lfs"]
)
def test_what_is_no_protobuf_is_refused(tmp_path, left_in_file, content):
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(UnsupportedModelError, match=r"does not parse as protobuf|holds no graph"):
        ir.load(tmp_path / "model.onnx")


def test_a_mix_of_data_inside_and_beside_is_read(file, left_in_file):
    proto = onnx.load(file)
    weight = proto.graph.initializer[0]
    (file.parent / "beside").write_bytes(weight.raw_data)
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="beside")
    before = ir.checksum(ir.load(file).model)
    file.write_bytes(proto.SerializeToString())
    assert ir.checksum(ir.load(file).model) == before
