"""Operations, bytes and memory, against numbers worked by hand and published counts."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from passes.graphs import parse

from amct_lite import bitops, ir
from amct_lite.errors import ConfigError, RecordError, StaticShapeError
from amct_lite.types import LayerRecord, QParams, QuantRecord

sys.path.append(str(Path(__file__).parents[2] / "tools/bench"))
HEADER = '<ir_version: 8, opset_import: ["": 17, "custom": 1]>\n'

# conv1: 3x3x3 = 27 products an output, 8x8x8 outputs; conv2 depthwise: 9 products; fc: 512 products, 10 outputs.
NET = """net (float[N,3,8,8] x, float[8,3,3,3] w1, float[8] b1, float[8,1,3,3] w2, float[512,10] w3) => (float[N,10] y) {
  [conv1] a = Conv <pads = [1,1,1,1]> (x, w1, b1)
  [relu] b = Relu (a)
  [conv2] c = Conv <group = 8, pads = [1,1,1,1]> (b, w2)
  [flat] d = Flatten (c)
  [fc] y = MatMul (d, w3)
}"""
SHAPES = {"x": (1, 3, 8, 8)}


def model_of(text: str, constants: str) -> ir.Model:
    return parse(text, constants, HEADER)


def net() -> ir.Model:
    return model_of(NET, "w1 b1 w2 w3")


def entry(key: str, bits: int = 8, weight_bits: int = 8) -> LayerRecord:
    return LayerRecord(key, QParams((0.5,), (0,), bits), QParams((0.1,), (0,), weight_bits))


def test_operations_of_each_layer_follow_the_formula_of_the_contract() -> None:
    cost = bitops(net(), input_shapes=SHAPES)
    assert [(c.name, c.macs, c.flops) for c in cost.layers] == [
        ("conv1", 27 * 512, (2 * 27 - 1 + 1) * 512),  # with bias
        ("conv2", 9 * 512, (2 * 9 - 1) * 512),
        ("fc", 512 * 10, (2 * 512 - 1) * 10),
    ]
    assert cost.macs == 13824 + 4608 + 5120
    assert cost.layers[0].bitops == 54 * 512 * 32 * 32
    assert cost.totals["fp16"].bitops * 4 == cost.totals["fp32"].bitops == sum(c.bitops for c in cost.layers)


def test_operations_grow_with_the_batch_and_parameters_do_not() -> None:
    one, four = bitops(net(), input_shapes=SHAPES), bitops(net(), input_shapes={"x": (4, 3, 8, 8)})
    assert four.macs == 4 * one.macs
    assert four.parameters == one.parameters == 8 * 27 + 8 + 8 * 9 + 5120


def test_weights_take_their_bits_and_the_bias_of_a_quantized_layer_32() -> None:
    cost = bitops(net(), QuantRecord((entry("conv1", weight_bits=4), entry("fc"))), input_shapes=SHAPES)
    assert [(c.act_bits, c.weight_bits, c.weight_bytes) for c in cost.layers] == [
        (8, 4, 216 // 2 + 8 * 4),
        (32, 32, 72 * 4),
        (8, 8, 5120),
    ]
    assert cost.main.weight_bytes == 140 + 288 + 5120
    assert cost.main.bitops == 54 * 512 * 8 * 4 + 17 * 512 * 32 * 32 + 1023 * 10 * 8 * 8
    assert cost.totals["fp32"].weight_bytes == 4 * cost.parameters
    assert cost.totals["fp16"].weight_bytes == 2 * cost.parameters


def test_the_peak_is_what_is_held_at_once_with_places_reused() -> None:
    # x 192 floats, a/b 512 (Relu in place), c/d 512 (Flatten in place), y 10: the most is b with c, at conv2.
    cost = bitops(net(), input_shapes=SHAPES)
    peak = cost.totals["fp32"]
    assert (peak.peak_activation_bytes, peak.peak_at) == (4 * 1024, "conv2")
    assert peak.activation_bytes == 4 * (192 + 512 + 512 + 10)
    assert cost.totals["fp16"].peak_activation_bytes == 2 * 1024


def test_a_tensor_is_held_in_the_bits_of_its_readers() -> None:
    # x: conv1 reads 8 bits; b: conv2 in float; d: fc in 8 bits, so c, which Flatten overwrites, as well.
    cost = bitops(net(), QuantRecord((entry("conv1"), entry("fc"))), input_shapes=SHAPES)
    assert [c.activation_bytes for c in cost.layers] == [512 * 4, 512, 10 * 4]
    assert cost.main.activation_bytes == 192 + 512 * 4 + 512 + 40
    assert cost.main.peak_activation_bytes == 512 * 4 + 512


def test_a_tensor_read_as_float_and_as_codes_is_held_twice() -> None:
    text = """g (float[1,4,5,5] x, float[4,4,1,1] w) => (float[1,4,5,5] y) {
      [one] a = Conv (x, w) [two] b = Conv (a, w) [add] y = Add (a, b) }"""
    cost = bitops(model_of(text, "w"), QuantRecord((entry("two"),)))
    assert cost.layers[0].activation_bytes == 100 * (4 + 1)
    assert cost.main.peak_activation_bytes == 500 + 400 + 400  # a in both forms, b and y, while `add` runs
    assert cost.totals["fp32"].peak_activation_bytes == 1200


def test_a_weight_of_two_layers_is_stored_once_for_each_width() -> None:
    text = """g (float[1,4,5,5] x, float[4,4,1,1] w) => (float[1,4,5,5] y) { [one] a = Conv (x, w) [two] y = Conv (a, w) }"""
    cost = bitops(model_of(text, "w"), QuantRecord((entry("two"),)))
    assert cost.parameters == 16
    assert cost.totals["fp32"].weight_bytes == 64
    assert cost.main.weight_bytes == 64 + 16


@pytest.mark.parametrize(
    ("text", "macs", "flops"),
    [
        # transposed: 6/2 input channels · 2·2 positions are multiplied, once for each of 5·5 inputs and 4·2 outputs
        (
            """g (float[1,6,5,5] x, float[6,4,2,2] w) => (float[1,8,10,10] y) {
              y = ConvTranspose <group = 2, strides = [2,2]> (x, w) }""",
            12 * 200,
            23 * 200,
        ),
        ("g (float[7,3] x, float[3,5] w, float[5] b) => (float[7,5] y) { y = Gemm (x, w, b) }", 105, 6 * 35),
        ("g (float[3,7] x, float[3,5] w) => (float[7,5] y) { y = Gemm <transA = 1> (x, w) }", 105, 5 * 35),
        ("g (float[2,4,3] x, float[2,3,6] x2) => (float[2,4,6] y) { y = MatMul (x, x2) }", 3 * 48, 5 * 48),
        # the Add behind a product is its bias
        (
            "g (float[4,3] x, float[3,5] w, float[5] b) => (float[4,5] y) { h = MatMul (x, w) y = Add (h, b) }",
            60,
            6 * 20,
        ),
    ],
)
def test_macs_and_flops_follow_the_formula_of_the_operator(text: str, macs: int, flops: int) -> None:
    (layer,) = bitops(model_of(text, "w b")).layers
    assert (layer.macs, layer.flops) == (macs, flops)


@pytest.mark.parametrize(
    ("name", "macs", "parameters"), [("resnet50", 4_089_184_256, 25.56e6), ("mobilenetv2", 300_774_272, 3.50e6)]
)
def test_published_counts_of_known_networks(name: str, macs: int, parameters: float) -> None:
    """Published as 4.09 G and 0.30 G, with the parameters of BatchNormalization, which is folded here (under 1 %)."""
    import models

    model = ir.load_bytes(models.MODELS[name]().SerializeToString())
    cost = bitops(model, input_shapes={"input": (1, 3, 224, 224)})
    assert (cost.macs, cost.not_counted, cost.unknown_shapes) == (macs, (), ())
    assert cost.parameters == pytest.approx(parameters, rel=0.01)


def test_what_cannot_be_counted_is_named_with_the_reason() -> None:
    text = """g (bool q, float[1,2,4,4] x, float[2,2,1,1] w) => (float[1,2,4,4] y, float[1,2,4,4] z) {
      [ours] z = custom.Wavelet (x)
      [choose] y = If (q) <then_branch = t () => (float[1,2,4,4] t) { [inner] t = Conv (x, w) },
                           else_branch = e () => (float[1,2,4,4] e) { e = Relu (x) }> }"""
    cost = bitops(model_of(text, "w"))
    reasons = {skip.node: skip.reason for skip in cost.not_counted}
    assert reasons["ours"] == "nothing is known of operators of the domain custom"
    assert "stands inside the body of a control-flow node" in reasons["inner"]
    assert (cost.macs, cost.layers) == (0, ())
    assert cost.parameters == 4


def test_tensors_whose_size_depends_on_data_are_named() -> None:
    text = """g (float[1,2,4,4] x, float[2,2,1,1] w) => (int64[4,N] y, float[1,2,4,4] z) {
      [conv] z = Conv (x, w) [where] y = NonZero (z) }"""
    assert bitops(model_of(text, "w")).unknown_shapes == ("y",)


def test_an_open_input_is_an_error_with_the_option_to_pass() -> None:
    with pytest.raises(StaticShapeError, match=r"input 'x' is \(N, 3, 8, 8\). Pass --input-shape \"x:1,3,8,8\""):
        bitops(net())
    with pytest.raises(ConfigError, match="the model has no such input"):
        bitops(net(), input_shapes={"z": (1,)})


def test_a_record_of_another_model_is_refused() -> None:
    with pytest.raises(RecordError, match=r"'conv3' is no node of the model \(did you mean 'conv2'\?\)"):
        bitops(net(), QuantRecord((entry("conv3"),)), input_shapes=SHAPES)


def test_the_json_holds_totals_and_layers() -> None:
    content = json.loads(bitops(net(), QuantRecord((entry("conv1"),)), input_shapes=SHAPES).to_json())
    assert content["total"]["macs"] == 23552
    assert content["total"]["bitops"] == content["totals"]["record"]["bitops"]
    assert set(content["total"]) >= {"macs", "flops", "bitops", "parameters", "weight_bytes", "peak_activation_bytes"}
    assert content["layers"][0]["act_bits"] == 8


def test_the_model_is_not_modified() -> None:
    model = net()
    before = ir.to_bytes(model)
    bitops(model, input_shapes=SHAPES)
    assert ir.to_bytes(model) == before
    assert np.array_equal(ir.dims_of(model.graph.inputs[0]), ("N", 3, 8, 8))


def test_layers_of_a_float16_model_count_as_such_beside_those_of_the_record() -> None:
    text = """net (float16[N,3,8,8] x, float16[8,3,3,3] w1, float16[8] b1, float16[8,1,3,3] w2, float16[512,10] w3)
      => (float16[N,10] y) {
      [conv1] a = Conv <pads = [1,1,1,1]> (x, w1, b1)
      [relu] b = Relu (a)
      [conv2] c = Conv <group = 8, pads = [1,1,1,1]> (b, w2)
      [flat] d = Flatten (c)
      [fc] y = MatMul (d, w3)
    }"""
    halves = {name: np.zeros(shape, np.float16) for name, shape in {"w1": (8, 3, 3, 3), "b1": (8,), "w2": (8, 1, 3, 3)}.items()}
    model = parse(text, "", HEADER, **halves, w3=np.zeros((512, 10), np.float16))
    record = QuantRecord((replace(entry("conv1"), data_type="FLOAT16"), replace(entry("fc"), data_type="FLOAT16")))
    cost = bitops(model, record, input_shapes=SHAPES)
    assert [(c.act_bits, c.weight_bits, c.weight_bytes) for c in cost.layers] == [
        (8, 8, 216 + 8 * 4),
        (16, 16, 72 * 2),  # float16 in the model, and the record leaves it alone
        (8, 8, 5120),
    ]
    # x: int8 for conv1; b: float16 for conv2; d: int8 for fc; y: float16.
    assert cost.main.activation_bytes == 192 * 2 + 192 + 512 * 2 + 512 + 10 * 2
    assert cost.main.peak_activation_bytes == 512 * 2 + 512
    assert cost.main.weight_bytes == 248 + 144 + 5120


def test_the_record_says_what_a_layer_hands_on() -> None:
    cost = bitops(net(), QuantRecord((entry("conv1"), replace(entry("fc"), data_type="FLOAT16"))), input_shapes=SHAPES)
    assert cost.layers[2].activation_bytes == 10 * 2
    assert cost.layers[0].activation_bytes == 512 * 4  # conv2 reads it in float32
