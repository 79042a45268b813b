"""Sources in float16: the deploy model computes in float16 what the source did, or says why not."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from onnx import TensorProto
from small_nets import FOUR_CONVS, ONE_THREAD, images, net, run, to_float16

from amct_lite import ir
from amct_lite.config import QuantConfig
from amct_lite.converting import convert
from amct_lite.pipeline import quantize
from amct_lite.record import format_record, parse_record
from amct_lite.result import QuantizeResult
from amct_lite.types import QuantRecord
from amct_lite.validate.lowering import lower

HALF, WIDE = ir.DataType.FLOAT16, ir.DataType.FLOAT
MIXED = """net (float16[N,3,16,16] x) => (float16[N,8,16,16] y, float[N,8,16,16] z) {
  [conv1] a = Conv<pads = [1,1,1,1]>(x, w1, b1)
  [up] b = Cast<to = 1>(a)
  [exp] c = Sigmoid(b)
  [down] d = Cast<to = 10>(c)
  [conv2] y = Conv<group = 8, pads = [1,1,1,1]>(d, w2, b2)
  [out] z = Cast<to = 1>(d)
}"""
KEPT_IO = """net (float[N,3,16,16] x) => (float[N,8,16,16] y) {
  [half] h = Cast<to = 10>(x)
  [conv1] a = Conv<pads = [1,1,1,1]>(h, w1, b1)
  [relu] r = Relu(a)
  [back] y = Cast<to = 1>(r)
}"""
RESIZED = """net (float16[N,3,16,16] x) => (float16[N,8,32,32] y) {
  [conv1] a = Conv<pads = [1,1,1,1]>(x, w1, b1)
  [resize] b = Resize<mode = "linear">(a, , scales)
  [conv2] y = Conv<group = 8, pads = [1,1,1,1]>(b, w2, b2)
}"""
TOO_LARGE = """net (float16[N,3,16,16] x) => (float16[N,8,16,16] y) {
  [conv1] a = Conv<pads = [1,1,1,1]>(x, w1, b1)
  [twice] c = Add(big, big)
  [mul] y = Min(a, c)
}"""


def half_net(text: str, **values: object):
    """Weights in float16, the types of inputs and outputs as the text has them."""
    made = net(text, **values)
    model = to_float16(made)
    for info, given in zip((*model.graph.input, *model.graph.output), (*made.graph.input, *made.graph.output), strict=True):
        info.type.tensor_type.elem_type = given.type.tensor_type.elem_type
    for tensor, given in zip(model.graph.initializer, made.graph.initializer, strict=True):
        if tensor.name == "scales":
            tensor.CopyFrom(given)
    return model


def quantized(model, config: QuantConfig | None = None) -> QuantizeResult:
    dtype = np.float16 if model.graph.input[0].type.tensor_type.elem_type == TensorProto.FLOAT16 else np.float32
    data = [{"x": feeds["x"].astype(dtype)} for feeds in images()]
    return quantize(ir.load_bytes(model.SerializeToString()), data, config, options=ONE_THREAD)


def float_types(model: ir.Model) -> dict[str, ir.DataType]:
    return {str(v.name): v.dtype for node in model.graph for v in node.outputs if v.dtype in {HALF, WIDE}}


def deploy_of(result: QuantizeResult) -> ir.Model:
    assert result.exports.deploy is not None
    return result.exports.deploy


def assert_near_fake_quant(result: QuantizeResult) -> None:
    dtype = result.source.original.graph.inputs[0].dtype.numpy()
    feeds = {"x": images(seed=5)[0]["x"].astype(dtype)}
    lowered = lower(deploy_of(result)).model
    for exact, ours in zip(run(result.exports.fake_quant, feeds), run(lowered, feeds), strict=False):
        assert exact.dtype == ours.dtype
        # Codes next to a tie go either way in float16; one step of 255 here and there.
        assert np.abs(exact.astype(np.float64) - ours).max() <= 0.02 * np.abs(exact).max()


@pytest.mark.parametrize("config", [QuantConfig(), QuantConfig(bits=16), QuantConfig(weight_bits=4)], ids=["A8W8", "A16", "W4"])
def test_float16_source_gets_a_float16_deploy_model(config: QuantConfig) -> None:
    result = quantized(to_float16(net()), config)
    deploy = deploy_of(result)
    assert set(float_types(deploy).values()) == {HALF}
    assert "Cast" not in Counter(node.op_type for node in deploy.graph)
    dequants = [node for node in deploy.graph if node.op_type == "AscendDequant"]
    assert {ir.attribute(node, "dtype", 0) for node in dequants} == {1}
    assert [value.dtype for value in (*deploy.graph.inputs, *deploy.graph.outputs)] == [HALF, HALF]
    assert deploy.graph.outputs[0].name == "y"
    assert any("and so is the deploy model" in note for note in result.report.notes)
    assert_near_fake_quant(result)


def test_record_says_float16_and_gives_the_same_model_again() -> None:
    result = quantized(to_float16(net()), QuantConfig(bias_correction="none"))
    text = format_record(result.record)
    assert text.count('op_data_type: "FLOAT16"') == 4
    shapes = QuantConfig(input_shapes={"x": (1, 3, 16, 16)})
    again = convert(result.source.original, parse_record(text), options=ONE_THREAD, config=shapes)
    assert ir.to_bytes(deploy_of(again)) == ir.to_bytes(deploy_of(result))


def test_op_data_type_decides_what_a_layer_gives() -> None:
    """FLOAT16 in a float32 model, FLOAT32 in a float16 one; what is an output of the model keeps its type."""
    plain = quantized(net(), QuantConfig(bias_correction="none"))
    shapes = QuantConfig(input_shapes={"x": (1, 3, 16, 16)})
    for source, default, other in ((plain, WIDE, "FLOAT16"), (quantized(to_float16(net())), HALF, "FLOAT32")):
        layers = tuple(replace(layer, data_type=other) for layer in source.record.layers if layer.key != "conv1")
        record = parse_record(format_record(QuantRecord((source.record.by_key["conv1"], *layers))))
        again = convert(source.source.original, record, options=ONE_THREAD, config=shapes)
        types = float_types(deploy_of(again))
        changed = WIDE if default == HALF else HALF
        assert types["conv1.dequant.output0"] == default
        assert (types["conv2.dequant.output0"], types["conv3.dequant.output0"]) == (changed, changed)
        assert types["y"] == default
        assert [value.dtype for value in deploy_of(again).graph.inputs] == [default]
        told = "the record asks for FLOAT16, and 2 layers" if default == WIDE else "the source is float16, and so is"
        assert any(note.startswith(told) for note in again.report.notes)
        assert_near_fake_quant(again)


def test_float32_source_has_neither() -> None:
    result = quantized(net())
    assert "op_data_type" not in format_record(result.record)
    assert set(float_types(deploy_of(result)).values()) == {WIDE}


def test_what_the_source_computes_in_float32_stays_in_float32() -> None:
    result = quantized(half_net(MIXED))
    deploy = deploy_of(result)
    (sigmoid,) = (node for node in deploy.graph if node.op_type == "Sigmoid")
    assert [value.dtype for value in (*sigmoid.inputs, *sigmoid.outputs)] == [WIDE, WIDE]
    types = float_types(deploy)
    assert (types["conv1.dequant.output0"], types["y"], types["z"]) == (HALF, HALF, WIDE)
    assert_near_fake_quant(result)


def test_float32_interface_around_a_float16_network_is_kept() -> None:
    result = quantized(half_net(KEPT_IO))
    deploy = deploy_of(result)
    assert [value.dtype for value in (*deploy.graph.inputs, *deploy.graph.outputs)] == [WIDE, WIDE]
    assert float_types(deploy)["conv1.dequant.output0"] == HALF
    assert_near_fake_quant(result)


def test_an_input_that_is_float32_by_definition_stays_so() -> None:
    result = quantized(half_net(RESIZED, scales=np.array([1, 1, 2, 2], np.float32)))
    (resize,) = (node for node in deploy_of(result).graph if node.op_type == "Resize")
    assert [None if v is None else v.dtype for v in resize.inputs] == [HALF, None, WIDE]
    assert resize.outputs[0].dtype == HALF
    assert_near_fake_quant(result)


def test_a_constant_too_large_for_float16_leaves_the_deploy_model_in_float32() -> None:
    result = quantized(half_net(TOO_LARGE, big=np.full(1, 60000, np.float32)))
    assert float_types(deploy_of(result))["conv1.dequant.output0"] == WIDE
    (note,) = (note for note in result.report.notes if note.startswith("the source is float16"))
    assert "computes in float32 between its layers: the constant" in note
    assert "holds 120000, which float16 (65504 at most) does not" in note


def test_original_text_is_float16_through_and_through() -> None:
    """The source of these tests is what it claims to be."""
    model = ir.load_bytes(to_float16(net(FOUR_CONVS)).SerializeToString())
    ir.infer_shapes(model)
    assert set(float_types(model).values()) == {HALF}


def test_the_model_for_onnx_runtime_says_that_it_computes_in_float32() -> None:
    result = quantized(to_float16(net()), QuantConfig(target="ort"))
    assert [n for n in result.report.notes if "float16" in n and "the model for ONNX Runtime computes in float32 inside" in n]


def test_a_normalization_in_parts_at_the_end_of_a_float16_network_is_compared() -> None:
    """ONNX Runtime took the Cast behind it along, and refused its own node."""
    text = """net (float16[1,5,16] x) => (float16[1,5,16] y) { [product] a = MatMul (x, w) m = ReduceMean <axes=[-1]> (a)
      d = Sub (a, m) q = Pow (d, two) v = ReduceMean <axes=[-1]> (q) t = Add (v, tiny) s = Sqrt (t) n = Div (d, s)
      o = Mul (n, scale) y = Add (o, shift) }"""
    numbers = {"two": np.float32(2), "tiny": np.float32(1e-5), "scale": (16,), "shift": (16,)}
    model = to_float16(net(text, w=(16, 16), **numbers))
    data = [{"x": feeds["x"].reshape(-1)[:80].reshape(1, 5, 16).astype(np.float16)} for feeds in images()]
    result = quantize(ir.load_bytes(model.SerializeToString()), data, options=ONE_THREAD)
    assert result.exports.deploy is not None
    assert result.exports.deploy.graph.outputs[0].dtype == HALF
