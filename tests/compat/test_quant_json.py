"""quant.json: what each node of the deploy model stands for, where normalizations and biases became part of a layer."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import amct_lite as amct
from amct_lite import ir
from amct_lite.compat.quant_json import original_names, quant_json
from amct_lite.exporters import ascend
from amct_lite.loading import load_prepared

NET = """<ir_version: 8, opset_import: ["" : 13]> g (float[1, 1, 1, 2] x) => (float[1, 1, 1, 2] z)
<float[1, 1, 1, 1] w = {2}, float[1, 1] k = {3}, float[1] g = {1}, float[1] b = {0.5}, float[1] v = {4},
 float[2, 2] m = {1, 2, 3, 4}, float[2] mb = {1, 2}>
{ BODY z = Relu (y) }"""
NORM = "BatchNormalization"
CHAINS = [
    (f"c = Conv (x, w) n = {NORM} (c, g, b, b, v) s = Mul (n, k) y = Add (s, k)", ["Conv_0", f"{NORM}_1", "Mul_2", "Add_3"]),
    ("c = Conv (x, w) s = Sub (c, k) d = Div (s, k) y = Mul (d, k)", ["Conv_0", "Sub_1", "Div_2", "Mul_3"]),
    (f"c = Conv (x, w) i = Identity (c) y = {NORM} (i, g, b, b, v)", ["Conv_0", "Identity_1", f"{NORM}_2"]),
    (f"n = {NORM} (x, g, b, b, v) s = Mul (n, k) y = Conv (s, w)", [f"{NORM}_0", "Mul_1", "Conv_2"]),
    (f"a = Conv (x, w) r = Relu (a) n = {NORM} (r, g, b, b, v) y = Conv (n, w)", [f"{NORM}_2", "Conv_3"]),
    ("c = MatMul (x, m) y = Add (c, mb)", ["Add_1"]),
]


@pytest.mark.parametrize(("body", "originals"), CHAINS, ids=[" ".join(chain) for _, chain in CHAINS])
def test_a_dequantized_value_is_that_of_the_last_node_it_stands_for(body: str, originals: list[str]) -> None:
    """A tool that compares outputs holds it against the original's output of that name."""
    source = load_prepared(ir.from_text(NET.replace("BODY", body)))
    record = amct.quantize(source.original, [{"x": np.ones((1, 1, 1, 2), np.float32)}]).record
    deploy = ascend.export(source.prepared, record)
    operators = json.loads(quant_json(deploy, original_names(source), "m"))["graph"][0]["op"]
    dequant = [operator for operator in operators if operator["type"] == "AscendDequant"][-1]
    assert dequant["attr"][0]["value"]["list"]["s"] == originals
    (origin,) = (e["value"]["s"] for e in dequant["output_desc"][0]["attr"] if e["key"] == "_datadump_origin_name")
    assert origin == originals[-1]
    relu = operators[-1]
    assert relu["attr"][0]["value"]["list"]["s"] == [relu["name"]]


def test_what_a_layer_took_in_survives_until_save_model(tmp_path: Path) -> None:
    ir.save(ir.from_text(NET.replace("BODY", CHAINS[0][0])), tmp_path / "m.onnx")
    amct.create_quant_config(tmp_path / "c.json", tmp_path / "m.onnx")
    amct.quantize_model(tmp_path / "c.json", tmp_path / "m.onnx", tmp_path / "cali.onnx", tmp_path / "r.txt")
    amct.CalibrationSession(tmp_path / "cali.onnx").run(None, {"x": np.ones((1, 1, 1, 2), np.float32)})
    amct.save_model(tmp_path / "cali.onnx", tmp_path / "r.txt", tmp_path / "net")
    operators = json.loads((tmp_path / "net_quant.json").read_text())["graph"][0]["op"]
    named = {operator["name"]: operator["attr"][0]["value"]["list"]["s"] for operator in operators}
    assert named["Conv_0.dequant"] == CHAINS[0][1]
