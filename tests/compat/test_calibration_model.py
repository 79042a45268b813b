"""The calibration model: what is put in, and that nothing but rounded weights is left when it is taken out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest

import amct_lite as amct
from amct_lite import ir
from amct_lite.compat.calibration_model import DOMAIN, expose, insert, strip, watches_in
from amct_lite.compat.job import Watch, watches_of
from amct_lite.compat.origin import take_origin
from amct_lite.compat.partial_record import completed, format_weights, undecided
from amct_lite.compat.quant_json import original_names, quant_json
from amct_lite.config import QuantConfig
from amct_lite.errors import RecordError, UnsupportedModelError
from amct_lite.loading import load_prepared
from amct_lite.plan import resolve
from amct_lite.types import QParams

PRODUCT = """<ir_version: 8, opset_import: ["" : 13]>
g (float[N, 4, 8] a, float[N, 8, 4] b) => (float[N, 4, 3] y)
<float[4, 3] w = {1, -1, 2, 0.5, 0.25, -2, 1, 1, 1, 0, 0, 1}>
{ [product] p = MatMul (a, b)
  [weighted] y = MatMul (p, w) }
"""
FOLDED = """<ir_version: 8, opset_import: ["" : 13]>
g (float[1, 1, 4, 4] x) => (float[1, 1, 4, 4] y)
<float[1, 1, 1, 1] w = {2}, float[1] one = {1}, float[1] zero = {0}>
{ [conv] c = Conv (x, w)
  [norm] n = BatchNormalization (c, one, zero, zero, one)
  [relu] y = Relu (n) }
"""


def saved(text: str, path: Path) -> Path:
    onnx.save(onnx.parser.parse_model(text), path)
    return path


def calibration_model(path: Path) -> ir.Model:
    source = load_prepared(path)
    plan = resolve(QuantConfig(), source.prepared)
    watches = watches_of(plan, Path("r.txt"), model="m", batch_num=2, inputs=[("a", 3), ("b", 3)])
    model = ir.clone(source.prepared)
    insert(model, watches)
    return model


def test_a_product_of_two_tensors_goes_the_whole_way(tmp_path: Path) -> None:
    model = saved(PRODUCT, tmp_path / "p.onnx")
    amct.create_quant_config(tmp_path / "c.json", model, batch_num=2)
    amct.quantize_model(tmp_path / "c.json", model, tmp_path / "m.onnx", tmp_path / "r.txt")
    session = amct.CalibrationSession(tmp_path / "m.onnx")
    for seed in range(2):
        rng = np.random.default_rng(seed)
        shapes = {"a": (2, 4, 8), "b": (2, 8, 4)}
        session.run(None, {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()})
    product = amct.read_record(tmp_path / "r.txt").by_key["product"]
    assert product.activation.zero_point == (0,)
    assert product.weight is not None
    assert product.weight.scale != product.activation.scale  # the second factor's own
    amct.save_model(tmp_path / "m.onnx", tmp_path / "r.txt", tmp_path / "net")
    assert (tmp_path / "net_deploy_model.onnx").is_file()


def test_taking_the_nodes_out_gives_the_model_back(tmp_path: Path) -> None:
    before = load_prepared(saved(PRODUCT, tmp_path / "p.onnx")).prepared
    model = calibration_model(tmp_path / "p.onnx")
    assert sum(node.domain == DOMAIN for node in model.graph) == 3
    strip(model)
    assert [(n.op_type, n.name) for n in model.graph] == [(n.op_type, n.name) for n in before.graph]
    assert ir.checksum(model) == ir.checksum(before)
    assert DOMAIN not in model.graph.opset_imports


def test_exposing_makes_the_statistics_outputs(tmp_path: Path) -> None:
    model = calibration_model(saved(PRODUCT, tmp_path / "p.onnx"))
    names = expose(model)
    assert [value.name for value in model.graph.outputs] == ["y", *names]
    assert len(names) == 3 * 5


def test_an_incomplete_set_of_nodes_is_refused(tmp_path: Path) -> None:
    model = calibration_model(saved(PRODUCT, tmp_path / "p.onnx"))
    call = next(node for node in model.graph if node.domain == DOMAIN)
    damaged = json.loads(str(ir.attribute(call, "watch"))) | {"number": 7}
    ir.set_attribute(call, "watch", json.dumps(damaged))
    with pytest.raises(UnsupportedModelError, match="no complete set of calibration nodes"):
        watches_in(model)


def test_watches_survive_json(tmp_path: Path) -> None:
    for watch in watches_in(calibration_model(saved(PRODUCT, tmp_path / "p.onnx"))):
        assert Watch.from_json(watch.to_json()) == watch
    with pytest.raises(UnsupportedModelError, match="a calibration node of the model is damaged"):
        Watch.from_json("{}")


def test_a_folded_normalization_is_remembered(tmp_path: Path) -> None:
    model = saved(FOLDED, tmp_path / "f.onnx")
    assert original_names(load_prepared(model)) == {"conv": ("conv", "norm")}
    amct.create_quant_config(tmp_path / "c.json", model)
    amct.quantize_model(tmp_path / "c.json", model, tmp_path / "m.onnx", tmp_path / "r.txt")
    assert take_origin(ir.load(tmp_path / "m.onnx").model).names == {"conv": ("conv", "norm")}


def test_records_without_activation_factors(tmp_path: Path) -> None:
    text = format_weights({"a": QParams((0.5, 0.25), (0, 0)), "p": None})
    assert "scale_d" not in text
    assert text.count("scale_w: ") == 2
    path = tmp_path / "r.txt"
    path.write_text(text, encoding="utf-8")
    assert undecided(path) == ("a", "p")
    factors = {("a", 0): QParams((0.1,), (3,)), ("p", 0): QParams((0.2,), (0,)), ("p", 1): QParams((0.3,), (0,))}
    path.write_text(completed(text, path, factors), encoding="utf-8")
    record = amct.read_record(path).by_key
    assert record["a"].activation == QParams.of(0.1, 3)
    assert record["a"].weight == QParams((0.5, 0.25), (0, 0))
    assert record["p"].weight == QParams.of(0.3, 0)
    assert undecided(path) == ()


def test_a_record_that_lost_a_layer_is_not_completed(tmp_path: Path) -> None:
    text = format_weights({"a": QParams((0.5,), (0,))})
    with pytest.raises(RecordError, match="no entry for b"):
        completed(text, tmp_path / "r.txt", {("a", 0): QParams((1.0,), (0,)), ("b", 0): QParams((1.0,), (0,))})


def test_a_model_without_layers_is_refused(tmp_path: Path) -> None:
    text = '<ir_version: 8, opset_import: ["" : 13]> g (float[2] x) => (float[2] y) { y = Relu (x) }'
    with pytest.raises(UnsupportedModelError, match="has no layer to quantize"):
        amct.create_quant_config(tmp_path / "c.json", saved(text, tmp_path / "r.onnx"))


def test_outputs_that_a_node_does_not_have_are_not_described() -> None:
    """Whether a file names them as absent or does not name them: convert_model and save_model write the same."""
    text = """<ir_version: 8, opset_import: ["" : 17]> g (float[2, 1, 4] x, float[1, 9, 4] w, float[1, 9, 3] r)
    => (float[1, 1, 3] y) { a, y = GRU <hidden_size = 3> (x, w, r) }"""
    model = ir.from_text(text)
    node = next(iter(model.graph))
    node.outputs[0].name = ""
    (operator,) = json.loads(quant_json(model, {}, "t"))["graph"][0]["op"]
    (described,) = operator["output_desc"]
    assert {"key": "_datadump_origin_output_index", "value": {"i": 1}} in described["attr"]
