"""Why a layer runs in float: each reason as a graph in which ONNX Runtime really does not fuse, beside one in which it does."""

from __future__ import annotations

import json

import numpy as np
import pytest
from small_nets import FOUR_CONVS, ONE_THREAD, images, net

from amct_lite import ir
from amct_lite.config import QuantConfig
from amct_lite.diagnosis.explain import DeployExplanation, Explanation, LayerKernel, explain
from amct_lite.errors import ConfigError, DataError
from amct_lite.pipeline import quantize
from amct_lite.runtime import RuntimeOptions

RUNTIME = RuntimeOptions(threads=1)
HEAD = """[q] xq = QuantizeLinear (x, s, z) [dq] xd = DequantizeLinear (xq, s, z)
  [wdq] wd = DequantizeLinear (wq, s, wz) [bdq] bd = DequantizeLinear (bq, ss)"""
TAIL = "[oq] oq_ = QuantizeLinear (o, s, oz) [odq] y = DequantizeLinear (oq_, s, oz)"
CONV = "[conv] {} = Conv (xd, wd, bd)"
VALUES = {
    "s": np.float32(0.0625),
    "ss": np.float32(0.0625**2),
    "z": np.uint8(128),
    "oz": np.uint8(0),
    "wz": np.int8(0),
    "wq": np.random.default_rng(0).integers(-9, 9, (4, 4, 1, 1)).astype(np.int8),
    "bq": np.zeros(4, np.int32),
    "low": np.float32(0),
    "high": np.float32(6),
    "shape": np.array([1, 64]),
}


def model(body: str, *, opset: int = 21, output: str = "float[1,4,4,4] y", **values: object) -> ir.Model:
    text = f"net (float[1,4,4,4] x) => ({output}) {{ {body} }}"
    return ir.load_bytes(net(text, opset=opset, ir_version=10, **(VALUES | values)).SerializeToString())


def conv_of(body: str, **values: object) -> LayerKernel:
    found = explain(model(body, **values), options=RUNTIME)
    assert isinstance(found, Explanation)
    (layer,) = found.layers
    return layer


def test_a_conv_between_quantizers_is_an_integer_kernel() -> None:
    layer = conv_of(f"{HEAD} {CONV.format('o')} {TAIL}")
    assert (layer.kernel, layer.integer, layer.reasons) == ("QLinearConv", True, ())
    assert layer.microseconds is not None
    assert layer.float_microseconds is None


def test_a_clip_that_the_range_stays_within_is_no_reason() -> None:
    """0 … 255 · 0.0625/4 = 3.98 lies within 0 … 6."""
    body = f"{HEAD} {CONV.format('c')} [clip] o = Clip (c, low, high) {TAIL.replace('(o, s', '(o, t').replace('_, s', '_, t')}"
    assert conv_of(body, t=np.float32(0.0625 / 4)).integer


BLOCKED = {
    "a range beyond the clip": (
        f"{HEAD} {CONV.format('c')} [clip] o = Clip (c, low, high) {TAIL}",
        {},
        "clip (Clip) stays in front of the QuantizeLinear, whose range 0 to 15.9 goes beyond it",
    ),
    "a negative range behind a relu": (
        f"{HEAD} {CONV.format('c')} [relu] o = Relu (c) {TAIL}",
        {"oz": np.uint8(128)},
        "relu (Relu) stays in front of the QuantizeLinear, whose range -8 to 7.94 goes beyond it",
    ),
    "nothing behind": (f"{HEAD} {CONV.format('y')}", {}, "its output 'y' leaves the network as float"),
    "no quantizer behind": (
        f"{HEAD} {CONV.format('o')} [soft] y = Softmax (o)",
        {},
        "soft (Softmax) reads its output as float",
    ),
    "a second reader": (
        f"{HEAD} {CONV.format('o')} {TAIL.replace('y =', 'd =')} [tanh] t = Tanh (o) [add] y = Add (d, t)",
        {},
        "tanh (Tanh) reads its output as float, beside a QuantizeLinear",
    ),
    "16-bit activations": (
        f"{HEAD} {CONV.format('o')} {TAIL}",
        {"z": np.uint16(32768), "oz": np.uint16(0)},
        "activations are UINT16: the integer kernels take 8 bits",
    ),
    "a layer left alone": (
        f"{HEAD.replace('[wdq]', '[tanh] t = Tanh (x) [wdq]')} [conv] y = Conv (t, w)",
        {"w": (4, 4, 1, 1)},
        "not quantized: no DequantizeLinear in front of its data",
    ),
    "no such kernel": (
        f"{HEAD} [conv] o = ConvTranspose (xd, wd, bd) {TAIL}",
        {},
        "ONNX Runtime has no integer kernel for ConvTranspose",
    ),
}


@pytest.mark.parametrize("name", BLOCKED)
def test_each_blocker_is_named(name: str) -> None:
    body, values, reason = BLOCKED[name]
    layer = conv_of(body, **values)
    assert not layer.integer
    assert layer.reasons == (reason,)


def test_signed_codes_with_two_readers_stay_signed_while_those_of_the_input_become_unsigned() -> None:
    body = f"""{HEAD} {CONV.format("o")} [oq] oc = QuantizeLinear (o, s, iz) [d1] a = DequantizeLinear (oc, s, iz)
      [t] b = Tanh (a) [c] e = Sigmoid (a) [add] y = Add (b, e)"""
    layer = conv_of(body, z=np.int8(0), iz=np.int8(0))
    assert layer.reasons == ("it reads UINT8 and writes INT8 codes, which no integer kernel does: use --target ort",)


@pytest.mark.parametrize(
    ("readers", "zero", "integer"), [(2, np.int8(0), False), (1, np.int8(0), True), (2, np.uint8(128), True)]
)
def test_signed_codes_of_several_readers_keep_a_matmul_in_float(readers: int, zero: object, integer: bool) -> None:
    body = """[q] xq = QuantizeLinear (x, s, z) [dq] xd = DequantizeLinear (xq, s, z)
      [wdq] wd = DequantizeLinear (wq, s, wz) [ma] a = MatMul (xd, wd) """
    body += "[mb] b = MatMul (xd, wd) [add] y = Add (a, b)" if readers == 2 else "[soft] y = Softmax (a)"
    found = explain(model(body, z=zero, wq=np.ones((4, 4), np.int8)), options=RUNTIME)
    assert isinstance(found, Explanation)
    assert {layer.integer for layer in found.layers} == {integer}
    reason = "several nodes read its INT8 codes, which so do not become the UINT8 that the kernel takes: use --target ort"
    assert {layer.reasons for layer in found.layers} == {() if integer else (reason,)}


@pytest.mark.parametrize(("spelled", "integer"), [(", gz", True), ("", False)])
def test_a_gemm_wants_the_zero_point_of_its_weight_written_out(spelled: str, integer: bool) -> None:
    body = f"""[flat] f = Flatten (x) [q] xq = QuantizeLinear (f, s, z) [dq] xd = DequantizeLinear (xq, s, z)
      [gdq] gd = DequantizeLinear (g, s{spelled}) [bdq] bd = DequantizeLinear (bq, ss) [fc] y = Gemm (xd, gd, bd)"""
    layer = conv_of(body, output="float[1,4] y", g=np.ones((64, 4), np.int8), gz=np.int8(0))
    assert layer.integer is integer
    assert bool(layer.reasons) is not integer
    assert integer or "has no zero point written out" in layer.reasons[0]


PRODUCT = """net (float[1,4,8] x) => (float[1,4,8] y) { [q] xq = QuantizeLinear (x, s, z)
  [product] y = com.microsoft.MatMulIntegerToFloat (xq, w, s, s, z, wz) }"""
CODES = """net (float[1,4,8] x) => (float[1,4,8] y) { xq, xs, xz = DynamicQuantizeLinear (x)
  [product] i = MatMulInteger (xq, w, xz, wz) f = Cast <to=1> (i) t = Mul (xs, s) y = Mul (f, t) }"""


@pytest.mark.parametrize(("text", "kernel"), [(PRODUCT, "MatMulIntegerToFloat"), (CODES, "DynamicQuantizeMatMul")])
def test_products_that_are_written_as_integer_kernels_are_layers(text: str, kernel: str) -> None:
    values = VALUES | {"w": np.random.default_rng(0).integers(-9, 9, (8, 8)).astype(np.int8)}
    written = net(text, domains=', "com.microsoft": 1', **{name: values[name] for name in ("s", "z", "w", "wz")})
    found = explain(ir.load_bytes(written.SerializeToString()), options=RUNTIME)
    assert isinstance(found, Explanation)
    assert [(layer.name, layer.kernel, layer.integer) for layer in found.layers] == [("product", kernel, True)]


def test_the_float_model_is_timed_beside_it_layer_by_layer() -> None:
    source = ir.load_bytes(net().SerializeToString())
    result = quantize(source, images(4), QuantConfig(target="ort"), options=ONE_THREAD)
    assert result.exports.deploy is not None
    found = explain(result.exports.deploy, source, input_shapes={"x": (1, 3, 16, 16)}, options=RUNTIME)
    assert isinstance(found, Explanation)
    assert [layer.integer for layer in found.layers] == [True, True, True, False]  # the last writes the network's output
    assert all(layer.microseconds and layer.float_microseconds for layer in found.layers)
    kinds = {kind.op_type: (kind.count, kind.float_count) for kind in found.kinds}
    assert kinds["QLinearConv"] == (3, 0)
    assert kinds["QuantizeLinear"] == (found.quantize, 0)
    assert found.stored == 0  # the layer in float has constants
    assert json.loads(found.to_json())["layers"][0]["kernel"] == "QLinearConv"


def test_open_dimensions_are_asked_for() -> None:
    free = net(FOUR_CONVS.replace("[N,3,16,16]", "[N,3,H,W]"))
    with pytest.raises(DataError, match="--input-shape"):
        explain(ir.load_bytes(free.SerializeToString()), options=RUNTIME)


def test_another_network_is_refused() -> None:
    other = ir.load_bytes(net("net (float[1,3,4,4] z) => (float[1,3,4,4] y) { y = Relu (z) }").SerializeToString())
    with pytest.raises(ConfigError, match="float model has the inputs z, the quantized one x"):
        explain(model(f"{HEAD} {CONV.format('y')}"), other, options=RUNTIME)


def test_a_deploy_model_is_not_timed() -> None:
    source = ir.load_bytes(net(FOUR_CONVS).SerializeToString())
    deploy = quantize(source, images(4), QuantConfig(), options=ONE_THREAD).exports.deploy
    with pytest.raises(ConfigError, match=r"to time beside it is a deploy model, .* pass the float one"):
        explain(source, deploy, input_shapes={"x": (1, 3, 16, 16)}, options=RUNTIME)


def test_a_quantized_model_is_not_timed_as_the_float_one() -> None:
    source = ir.load_bytes(net().SerializeToString())
    exports = quantize(source, images(4), QuantConfig(target="ort"), options=ONE_THREAD).exports
    assert exports.deploy is not None
    for given in (exports.deploy, exports.fake_quant):
        with pytest.raises(ConfigError, match=r"is quantized itself: it holds .* \((De|Q)\w+Linear\)\. Pass the float model"):
            explain(exports.deploy, given, input_shapes={"x": (1, 3, 16, 16)}, options=RUNTIME)


def test_layers_of_a_deploy_model_that_hand_integers_on() -> None:
    """conv1 and its Relu feed conv2, but also the Add; conv3 the Add; conv4 is the output."""
    source = ir.load_bytes(net(FOUR_CONVS).SerializeToString())
    result = quantize(source, images(4), QuantConfig(), options=ONE_THREAD)
    assert result.exports.deploy is not None
    found = explain(result.exports.deploy)
    assert isinstance(found, DeployExplanation)
    reasons = {layer.name: layer.reasons for layer in found.layers}
    assert reasons == {
        "conv1": ("add (Add) reads its output as float, beside an AscendQuant",),
        "conv2": (),
        "conv3": ("add (Add) reads its output as float",),
        "conv4": ("its output 'y' leaves the network as float",),
    }
    assert [row["fused"] for row in json.loads(found.to_json())["layers"]] == [False, True, False, False]


def test_layers_that_a_deploy_model_leaves_in_float_are_named() -> None:
    source = ir.load_bytes(net(FOUR_CONVS).SerializeToString())
    result = quantize(source, images(4), QuantConfig(skip=("conv3",)), options=ONE_THREAD)
    assert result.exports.deploy is not None
    found = explain(result.exports.deploy)
    assert isinstance(found, DeployExplanation)
    assert found.unquantized == ("conv3",)
