"""`inspect`: facts, plan and reasons, without running the model."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from corpus import SHARED, needs_shared
from small_nets import net, saved


def test_inspect_shows_facts_and_plan(amct, digits):
    done = amct("inspect", digits)
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0] == "digits.onnx: opset 17; 20 nodes; 5,356 parameters, 21.4 kB"
    assert "input  images: float32 (N, 1, 8, 8)" in lines
    assert "output logits: float32 (N, 10)" in lines
    assert any("fold batch norm 5 ×" in line for line in lines)
    rows = {line.split()[0]: line for line in lines if line}
    assert "32×1×3×3" in rows["block1.depthwise"]
    assert "per channel arq" in rows["block1.depthwise"]
    assert "per tensor arq" in rows["classifier"]
    assert lines[-1] == "target ascend: 7 layers would be quantized, 0 left in float"


def test_inspect_takes_the_options_of_calibrate(amct, digits):
    done = amct("inspect", digits, "--algo", "kl", "--skip", "block*", "--symmetric", "--per-tensor", "--target", "generic")
    assert "target generic: 3 layers would be quantized, 4 left in float" in done.out
    stem = next(line for line in done.out.splitlines() if line.startswith("stem.conv"))
    assert "int8 symmetric kl" in stem
    assert "per tensor" in stem
    assert "'block*'" in done.out, "the reason names the pattern"


def test_json_has_the_opsets_the_shapes_and_the_plan(amct, digits):
    found = json.loads(amct("inspect", digits, "--json").out)
    assert (found["opset"], found["prepared_opset"], found["parameters"]) == (17, 17, 5356)
    assert found["weight_shapes"]["classifier"] == [64, 10]
    assert found["plan"]["layers"][0]["name"] == "stem.conv"


def test_nodes_that_a_pass_leaves_alone_for_one_reason_are_one_line(amct, tmp_path):
    norms = " ".join(f"[norm{i}] y{i} = BatchNormalization(r, a, a, a, a) " for i in range(5))
    text = f"net (float[1,2,4,4] x) => (float[1,10,4,4] y) {{ r = Relu(x) {norms} y = Concat<axis = 1>(y0, y1, y2, y3, y4) }}"
    done = amct("inspect", saved(net(text, a=np.ones(2, np.float32)), tmp_path))
    (line,) = [line for line in done.out.splitlines() if "not at" in line]
    names = ", ".join(f"norm{i} (BatchNormalization)" for i in range(3))
    assert line.startswith(f"fold batch norm not at {names} and 2 more: neither a Conv")


def test_inspect_refuses_what_is_no_model(amct, digits):
    done = amct("inspect", digits.with_name("README.md"))
    assert (done.code, done.out) == (4, "")
    assert "is not an ONNX model" in done.err


@needs_shared
@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("models/mnist_lstm_op13.onnx", "only ONNX Runtime's CPU (--target ort) has an int8 kernel for LSTM"),
        ("models/squeezenet11_op7.onnx", "opset 7, raised to 13"),
        ("structure/silero_vad_if.onnx", "it stands inside the body of a control-flow node"),
        ("structure/tract_lgbm_classifier.onnx", "0 layers would be quantized, 0 left in float"),
    ],
)
def test_inspect_tells_why_layers_stay_in_float(amct, model, said):
    done = amct("inspect", SHARED / "corpus" / model)
    assert done.code == 0
    assert said in done.out


def test_inspect_says_what_is_quantized_where_there_is_nothing(amct, tmp_path):
    text = '<ir_version: 8, opset_import: ["": 17]> g (float[1,4] x) => (float[1,4] y) { y = Relu (x) }'
    onnx.save(onnx.parser.parse_model(text), tmp_path / "relu.onnx")
    done = amct("inspect", tmp_path / "relu.onnx")
    assert done.code == 0
    assert "it holds none of the operators that are quantized: " in done.out
    assert "Conv" in done.out
