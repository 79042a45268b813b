"""Other widths than 8 bits, the whole way: from a configuration to models that were executed and compared."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_nets import ONE_THREAD, images, net, run, sqnr_of

from amct_lite import ir
from amct_lite.config import Override, QuantConfig
from amct_lite.converting import convert
from amct_lite.errors import RecordError
from amct_lite.pipeline import quantize
from amct_lite.record import format_record, parse_record
from amct_lite.reports.wording import accumulators
from amct_lite.result import QuantizeResult
from amct_lite.runtime import open_session

TEXT = """net (float[N,3,16,16] x) => (float[N,10,8,8] y, float[N,1] m) {
  [conv1] a = Conv<pads = [1,1,1,1]>(x, w1, b1)
  [relu1] b = Relu(a)
  [pool] c = AveragePool<kernel_shape = [3,3], pads = [1,1,1,1]>(b)
  [conv2] d = Conv<group = 8, pads = [1,1,1,1]>(c, w2, b2)
  [conv3] e = Conv(b, w3, b3)
  [add] f = Add(e, d)
  [softmax] g = Softmax<axis = 1>(f)
  [conv4] y = Conv<strides = [2,2], pads = [1,1,0,0]>(g, w4, b4)
  [mean] h = ReduceMean<axes = [1,2,3], keepdims = 0>(y)
  shape = Constant<value = int64[2] {-1, 1}>()
  [reshape] m = Reshape(h, shape)
}"""


def quantized(config: QuantConfig, opset: int = 17) -> QuantizeResult:
    model = ir.load_bytes(net(TEXT, opset=opset).SerializeToString())
    return quantize(model, images(), config, options=ONE_THREAD)


def widths_of(result: QuantizeResult) -> dict[str, tuple[int, int]]:
    return {layer.key: (layer.activation.bits, layer.weight.bits if layer.weight else 0) for layer in result.record.layers}


@pytest.mark.parametrize("opset", [9, 11, 13, 17])
def test_int16_data_raise_the_opset_of_the_fake_quant_model_alone(opset: int) -> None:
    result = quantized(QuantConfig(bits=16), opset)
    assert ir.opset(result.exports.fake_quant) == 21
    assert ir.opset(result.exports.corrected) == max(opset, 13)
    assert result.exports.deploy is not None
    assert ir.opset(result.exports.deploy) == max(opset, 13)
    assert result.report.equivalence is not None
    assert result.report.equivalence.layers == 5
    assert any("opset 21 instead of" in note for note in result.report.notes)
    # 8-bit weights of small random layers: 45 dB; 8-bit data beside them leave 42.
    assert sqnr_of(net(TEXT, opset=opset), result) > sqnr_of(net(TEXT, opset=opset), quantized(QuantConfig(), opset)) + 2


@pytest.mark.parametrize(("bits", "told"), [(16, True), (8, False)])
def test_products_of_int16_data_in_other_sessions_are_a_note(bits: int, told: bool) -> None:
    """Here and in sessions with that option, they are what the model says: ONNX Runtime 1.32 leaves 42 dB without it."""
    model = net("net (float[1,4,32] x) => (float[1,4,16] y) { [product] y = MatMul (x, w) }", w=(32, 16))
    data = [{"x": np.random.default_rng(seed).standard_normal((1, 4, 32)).astype(np.float32)} for seed in range(8)]
    result = quantize(
        ir.load_bytes(model.SerializeToString()), data, QuantConfig(target="generic", bits=bits), options=ONE_THREAD
    )
    assert any("opened with session.qdq_matmulnbits_accuracy_level = 1" in note for note in result.report.notes) is told
    session = open_session(result.exports.fake_quant, ONE_THREAD.runtime)
    for sample in data:
        np.testing.assert_allclose(session.run(sample)[0], run(result.exports.fake_quant, sample)[0], atol=1e-5)


@pytest.mark.parametrize(("bits", "weight_bits"), [(8, 4), (8, 6), (16, 4), (4, 4)])
def test_record_says_the_widths_and_gives_the_same_models_again(bits: int, weight_bits: int) -> None:
    result = quantized(QuantConfig(bits=bits, weight_bits=weight_bits, bias_correction="none"))
    text = format_record(result.record)
    assert f'wts_type: "INT{weight_bits}"' in text
    assert f'act_type: "INT{bits}"' in text
    again = convert(
        result.source.original, parse_record(text), options=ONE_THREAD, config=QuantConfig(input_shapes={"x": (1, 3, 16, 16)})
    )
    assert ir.to_bytes(again.exports.fake_quant) == ir.to_bytes(result.exports.fake_quant)
    assert again.report.equivalence is not None
    odd_and_grouped = {"conv1": 8, "conv2": 8} if weight_bits == 4 else {"conv1": weight_bits, "conv2": weight_bits}
    assert {name: widths_of(result)[name][1] for name in odd_and_grouped} == odd_and_grouped
    assert widths_of(result)["conv4"] == (bits, weight_bits)


def test_one_tensor_read_at_two_widths_is_quantized_twice() -> None:
    result = quantized(QuantConfig(layers={"conv3": Override(bits=16, weight_bits=7)}))
    assert widths_of(result)["conv3"] == (16, 7)
    assert widths_of(result)["pool"] == (8, 8)
    deploy = result.exports.deploy
    assert deploy is not None
    kinds = {str(node.name): ir.attribute(node, "dst_type", "") for node in deploy.graph if node.op_type == "AscendQuant"}
    assert (kinds["conv3.quant"], kinds["pool.quant"]) == ("INT16", "INT8")
    sources = {node.inputs[0] for node in deploy.graph if node.name in {"conv3.quant", "pool.quant"}}
    assert len(sources) == 1


def test_what_a_layer_cannot_have_is_noted_and_shown() -> None:
    result = quantized(QuantConfig(weight_bits=4))
    rows = {row.name: row for row in result.report.layers}
    assert rows["conv4"].types == "INT8 × INT4"
    assert rows["conv2"].types == "INT8 × INT8"
    assert any("group = 8" in note for note in rows["conv2"].notes)
    # One scale for all channels and 4 bits on both sides: no layer keeps 29 dB.
    coarse = quantized(QuantConfig(bits=4, weight_bits=4, per_channel="none"))
    assert "or try more bits (--bits, --weight-bits), a weight scale a channel" in " ".join(coarse.report.warnings)


def test_a_record_that_asks_for_the_impossible_is_refused_with_the_reason() -> None:
    result = quantized(QuantConfig())
    head, _, tail = format_record(result.record).partition('key: "conv2"')
    text = head + 'key: "conv2"' + tail.replace('wts_type: "INT8"', 'wts_type: "INT4"', 1)
    with pytest.raises(RecordError, match=r"'conv2' \(Conv\) cannot be INT8 × INT4: .*group = 8.*Use INT8 there"):
        convert(result.source.original, parse_record(text), options=ONE_THREAD)
    generic = convert(result.source.original, parse_record(text), options=ONE_THREAD, config=QuantConfig(target="generic"))
    assert widths_of(generic)["conv2"] == (8, 4)


def test_a_large_bias_beside_16_bit_data_raises_the_weight_scale() -> None:
    """A step of the accumulator is 256 times smaller than with 8 bits, so the same bias needs 256 times more of them."""
    text = "net (float[N,3,16,16] x) => (float[N,8,16,16] y) { [conv1] y = Conv<pads = [1,1,1,1]>(x, w1, big) }"
    model = ir.load_bytes(net(text, big=np.full(8, 1e4, np.float32)).SerializeToString())
    notes = {
        bits: quantize(model, images(), QuantConfig(bits=bits), options=ONE_THREAD).report.layers[0].notes for bits in (8, 16)
    }
    assert notes[8] == ()
    assert any("so that the bias fits into int32" in note for note in notes[16])


def test_command_line_takes_and_shows_the_widths(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from amct_lite.cli import group

    digits = Path(__file__).parents[1] / "samples/digits"
    words = ["calibrate", digits / "digits.onnx", "--data", digits / "calibration", "-o", tmp_path / "x"]
    done = CliRunner().invoke(group, [*map(str, words), "--bits", "16", "--weight-bits", "4", "--batches", "2"])
    assert done.exit_code == 0, done.output
    assert "INT16 × INT4" in done.output
    assert "INT8 weights: INT4 weights are stored in pairs" in " ".join(done.output.split())
    assert "opset 21 instead of" in " ".join(done.output.split())


@pytest.mark.parametrize(("bits", "weight_bits"), [(16, 8), (8, 4), (4, 4), (8, 6)])
def test_amct_s_functions_keep_the_widths_of_the_configuration(bits: int, weight_bits: int, tmp_path: Path) -> None:
    import json

    import amct_lite as amct

    digits = str(Path(__file__).parents[1] / "samples/digits/digits.onnx")
    config, model, record = (str(tmp_path / name) for name in ("q.json", "m.onnx", "r.txt"))
    amct.create_quant_config(config, digits)
    content = json.loads(Path(config).read_text())
    for layer in content.values():
        if isinstance(layer, dict):
            layer["activation_quant_params"]["num_bits"] = bits
            layer["weight_quant_params"]["num_bits"] = weight_bits
    Path(config).write_text(json.dumps(content))
    amct.quantize_model(config, digits, model, record)
    data = np.random.default_rng(0).random((8, 1, 8, 8)).astype(np.float32)
    amct.CalibrationSession(model).run(None, {"images": data})
    amct.save_model(model, record, str(tmp_path / "out"))
    text = Path(record).read_text()
    assert f'act_type: "INT{bits}"' in text
    assert f'wts_type: "INT{weight_bits}"' in text
    assert (tmp_path / "out_deploy_model.onnx").is_file()


@pytest.mark.parametrize(("bits", "told"), [(8, "accumulators equal (within"), (16, "up to float32's rounding (")])
def test_accumulators_are_told_in_steps_of_their_own_width(bits: int, told: str) -> None:
    report = quantized(QuantConfig(bits=bits)).report
    assert report.equivalence is not None
    assert told in accumulators(report.equivalence, report)


def test_steps_that_only_float32_cannot_tell_apart_are_not_called_within_one() -> None:
    report = quantized(QuantConfig()).report
    assert report.equivalence is not None
    told = accumulators(replace(report.equivalence, accumulator_error=31.6), report)
    assert told == "accumulators equal up to float32's rounding (32 steps)"


def test_four_bit_data_beside_wider_weights_are_one_warning() -> None:
    (told,) = [text for text in quantized(QuantConfig(bits=4)).report.warnings if text.startswith("4-bit activations")]
    assert "no layer has them: all are INT8. INT4 data go with INT4 weights only: add --weight-bits 4." in told
    both = quantized(QuantConfig(bits=4, weight_bits=4)).report.warnings
    assert not [text for text in both if text.startswith("4-bit activations")]
