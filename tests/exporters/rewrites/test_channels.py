"""Channels of zeros for the fast convolution kernels, and pads that the convolutions take over: no value changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_nets import ONE_THREAD, images, net, require_equal

from amct_lite import ir
from amct_lite.config import Override, QuantConfig
from amct_lite.converting import convert
from amct_lite.pipeline import quantize

ORT = QuantConfig(target="ort", bias_correction="none")
MOBILE = """net (float[N,3,16,16] x) => (float[N,6,16,16] y) {
  [stem] a = Conv <pads=[1,1,1,1]> (x, ws, bs) [low] b = Clip (a, zero, six)
  [dw] c = Conv <group=12, pads=[1,1,1,1]> (b, wd, bd) [high] d = Relu (c)
  [pw] e = Conv (d, wp) [relu] y = Relu (e) }"""
PARTS = {"ws": (12, 3, 3, 3), "bs": (12,), "wd": (12, 1, 3, 3), "bd": (12,), "wp": (6, 12, 1, 1)}
CLIP = {"zero": np.float32(0), "six": np.float32(6)}
SEEN = MOBILE.replace("[dw]", "[also] z = Sigmoid (b) [dw]").replace(
    "(float[N,6,16,16] y)", "(float[N,6,16,16] y, float[N,12,16,16] z)"
)
SUMMED = MOBILE.replace("[pw] e = Conv (d, wp)", "[add] d2 = Add (d, b) [pw] e = Conv (d2, wp)")
PADDED = """net (float[N,3,16,16] x) => (float[N,6,9,8] y) {
  [first] a = Conv <pads=[1,1,1,1]> (x, ws) [relu] b = Relu (a)
  [pad] c = Pad (b, around) [second] d = Conv <strides=[2,2], pads=[1,0,1,0]> (c, wp) [last] y = Relu (d) }"""
AROUND = {"ws": (12, 3, 3, 3), "wp": (6, 12, 3, 3), "around": np.array([0, 0, 0, 0, 0, 0, 1, 1])}


def exported(
    text: str,
    values: dict[str, object],
    channels: int = 3,
    sizes: tuple[int, ...] = (16, 16),
    *,
    opset: int = 17,
    config: QuantConfig = ORT,
) -> tuple[ir.Model, ir.Model]:
    """The fake-quant model and the one for ONNX Runtime; they were run beside each other, node by node, and are equal."""
    rng = np.random.default_rng(0)
    samples = [{"x": rng.standard_normal((1, channels, *sizes)).astype(np.float32)} for _ in range(8)]
    model = ir.load_bytes(net(text, opset=opset, **values).SerializeToString())
    exports = quantize(model, samples, config, options=ONE_THREAD).exports
    assert exports.deploy is not None
    require_equal(exports, samples[:4])
    return exports.fake_quant, exports.deploy


def weight_shapes(model: ir.Model) -> dict[str, tuple[int, ...]]:
    """Of codes, or of the floats of a layer that stays float."""
    found = {str(node.name): node.inputs[1] for node in model.graph if node.op_type == "Conv"}
    stored = {name: value if value.producer() is None else value.producer().inputs[0] for name, value in found.items()}
    return {name: ir.constant_of(value).shape for name, value in stored.items()}


@pytest.mark.parametrize("without", ["", ", bs", ", bd"])
def test_a_depthwise_layer_gets_whole_blocks_of_sixteen_channels(without: str) -> None:
    """And with it who writes and who reads them, with biases or without; then the first layer writes enough for a fourth
    channel to pay."""
    before, after = exported(MOBILE.replace(without, "") if without else MOBILE, PARTS | CLIP)
    assert weight_shapes(before) == {"stem": (12, 3, 3, 3), "dw": (12, 1, 3, 3), "pw": (6, 12, 1, 1)}
    assert weight_shapes(after) == {"stem": (16, 4, 3, 3), "dw": (16, 1, 3, 3), "pw": (6, 16, 1, 1)}


@pytest.mark.parametrize(
    ("text", "read"), [(SEEN, 16), (SUMMED, 12)], ids=["a Sigmoid sees what it reads", "what it reads is added to its result"]
)
def test_for_others_channels_of_zeros_are_cut_off_again(text: str, read: int) -> None:
    after = exported(text, PARTS | CLIP)[1]
    shapes = weight_shapes(after)
    assert (shapes["stem"], shapes["dw"], shapes["pw"]) == ((16, 4, 3, 3), (16, 1, 3, 3), (6, read, 1, 1))
    assert [node.op_type for node in after.graph].count("Slice") == (1 if read == 16 else 2)


@pytest.mark.parametrize("text", [SEEN, SUMMED])
@pytest.mark.parametrize("size", [8, 66])
def test_few_pixels_are_not_worth_a_cut_and_many_not_worth_two(text: str, size: int) -> None:
    shapes = weight_shapes(exported(text.replace("16,16", f"{size},{size}"), PARTS | CLIP, 3, (size, size))[1])
    assert (shapes["stem"], shapes["dw"], shapes["pw"]) == ((12, 3, 3, 3), (12, 1, 3, 3), (6, 12, 1, 1))


HEAD = """net (float[N,8,16,16] x) => (float[N,16,16,COUNT] y) {
  [first] a = Conv <pads=[1,1,1,1]> (x, ws) [relu] b = Relu (a)
  [point] c = Conv (b, wp, bp) [dw] d = Conv <group=COUNT, pads=[1,1,1,1]> (c, wd, bd)
  [last] e = Transpose <perm=[0,2,3,1]> (d) [end] y = Sigmoid (e) }"""


@pytest.mark.parametrize(("count", "computed"), [(1, 1), (2, 16), (10, 16), (24, 32)])
def test_a_depthwise_layer_computes_whole_blocks_and_others_see_its_own(count: int, computed: int) -> None:
    weights = {"ws": (16, 8, 3, 3), "wp": (count, 16, 1, 1), "bp": (count,), "wd": (count, 1, 3, 3), "bd": (count,)}
    after = exported(HEAD.replace("COUNT", str(count)), weights, 8)[1]
    assert weight_shapes(after)["point"] == (computed, 16, 1, 1)
    assert weight_shapes(after)["dw"] == (computed, 1, 3, 3)


RESULT = """net (float[N,8,16,16] x) => (float[N,16,16,COUNT] y) {
  [first] a = Conv (x, ws) [relu] b = Relu (a)
  [few] c = Conv <pads=[PAD,PAD,PAD,PAD]> (b, wf, bf) [low] d = Clip (c, zero, six)
  [last] e = Transpose <perm=[0,2,3,1]> (d) [end] y = Sigmoid (e) }"""


@pytest.mark.parametrize(
    ("count", "read", "kernel", "computed"),
    [(9, 12, 3, 16), (3, 16, 3, 16), (9, 10, 3, 9), (9, 12, 1, 9), (24, 12, 3, 24)],
    ids=["nine", "three", "reads no fours", "no pixels beside it", "more than a block"],
)
def test_a_convolution_over_pixels_computes_sixteen_channels_at_least(
    count: int, read: int, kernel: int, computed: int
) -> None:
    weights = {"ws": (read, 8, 1, 1), "wf": (count, read, kernel, kernel), "bf": (count,)}
    text = RESULT.replace("COUNT", str(count)).replace("PAD", str(kernel // 2))
    before, after = exported(text, weights | CLIP, 8)
    assert weight_shapes(before)["few"] == (count, read, kernel, kernel)
    assert weight_shapes(after)["few"] == (computed, read, kernel, kernel)


def test_a_convolution_behind_takes_the_channels_of_zeros_over() -> None:
    text = """net (float[N,8,16,16] x) => (float[N,20,16,16] y) {
      [few] a = Conv <pads=[1,1,1,1]> (x, wf) [relu] b = Relu (a)
      [last] c = Conv <pads=[1,1,1,1]> (b, wl) [end] y = Relu (c) }"""
    after = exported(text, {"wf": (6, 8, 3, 3), "wl": (20, 6, 3, 3)}, 8)[1]
    assert weight_shapes(after) == {"few": (16, 8, 3, 3), "last": (20, 16, 3, 3)}
    assert "Slice" not in {node.op_type for node in after.graph}


def test_a_result_that_is_an_output_of_the_network_stays_as_it_is() -> None:
    text = """net (float[N,8,16,16] x) => (float[N,9,16,16] y) {
      [first] a = Conv <pads=[1,1,1,1]> (x, ws) [relu] b = Relu (a) [few] y = Conv <pads=[1,1,1,1]> (b, wf) }"""
    assert weight_shapes(exported(text, {"ws": (16, 8, 3, 3), "wf": (9, 16, 3, 3)}, 8)[1])["few"] == (9, 16, 3, 3)


@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_whose_channels_come_last_gets_no_more(channels: int) -> None:
    """ONNX Runtime keeps them last, where a pad writes pixel by pixel."""
    text = f"""net (float[N,64,64,{channels}] x) => (float[N,16,64,64] y) {{
      [turn] a = Transpose <perm=[0,3,1,2]> (x) [stem] b = Conv <pads=[1,1,1,1]> (a, ws) [relu] y = Relu (b) }}"""
    after = exported(text, {"ws": (16, channels, 3, 3)}, 64, (64, channels))[1]
    assert weight_shapes(after)["stem"] == (16, channels, 3, 3)


@pytest.mark.parametrize(("channels", "size", "read"), [(3, 16, 4), (1, 16, 1), (1, 64, 4), (2, 64, 4), (4, 64, 4), (5, 64, 5)])
def test_small_images_of_one_channel_gain_nothing_from_more(channels: int, size: int, read: int) -> None:
    text = f"""net (float[N,{channels},{size},{size}] x) => (float[N,16,{size},{size}] y) {{
      [stem] a = Conv <pads=[1,1,1,1]> (x, ws) [relu] y = Relu (a) }}"""
    after = exported(text, {"ws": (16, channels, 3, 3)}, channels, (size, size))[1]
    assert weight_shapes(after)["stem"] == (16, read, 3, 3)


def test_an_image_in_codes_of_16_bits_gets_no_channels() -> None:
    """Of a record for another target, or a QDQ model. ONNX Runtime (1.31) has no Pad for them, nor kernels that would gain."""
    model = ir.load_bytes(net(MOBILE, **(PARTS | CLIP)).SerializeToString())
    wide = quantize(model, images(4), QuantConfig(target="generic", bits=16), options=ONE_THREAD)
    result = convert(model, wide.record, config=QuantConfig(target="ort"), data=images(2), options=ONE_THREAD)
    assert result.exports.deploy is not None
    assert weight_shapes(result.exports.deploy)["stem"][1] == 3


@pytest.mark.parametrize(("size", "read"), [(4096, 4), (64, 1)])
def test_signals_are_images_too(size: int, read: int) -> None:
    text = f"""net (float[N,1,{size}] x) => (float[N,16,{size}] y) {{
      [stem] a = Conv <pads=[1,1]> (x, ws) [relu] y = Relu (a) }}"""
    after = exported(text, {"ws": (16, 1, 3)}, 1, (size,))[1]
    assert weight_shapes(after)["stem"] == (16, read, 3)


def test_pixels_of_zeros_in_front_of_a_convolution_become_its_own() -> None:
    after = exported(PADDED, AROUND)[1]
    ops = {str(node.name): node for node in after.graph}
    assert "Pad" not in {node.op_type for node in after.graph if node.name != "stem.aligned.pad"}
    assert ir.attribute(ops["second"], "pads") == [1, 0, 2, 1]


@pytest.mark.parametrize("config", [ORT, replace(ORT, algorithm="minmax", tensors={"pad:0": Override()})], ids=["", "rounded"])
def test_a_pad_that_repeats_pixels_stays(config: QuantConfig) -> None:
    """Where it is rounded in front, too, both sides have one grid."""
    after = exported(PADDED.replace("Pad (b", 'Pad <mode="edge"> (b'), AROUND, config=config)[1]
    assert any(node.name == "pad" for node in after.graph)


GROUPED = """net (float[N,3,16,16] x) => (float[N,6,16,16] y) {
  [first] a = Conv <pads=[1,1,1,1]> (x, ws) [relu] b = Relu (a)
  [grouped] c = Conv <group=GROUP, pads=[1,1,1,1]> (b, wg, bg) [high] d = Clip (c, zero, six)
  [last] e = Conv (d, wl) [end] y = Relu (e) }"""


@pytest.mark.parametrize(
    ("channels", "group", "outputs", "joined"),
    [(16, 4, 32, (32, 16, 3, 3)), (96, 12, 96, (96, 48, 3, 3)), (16, 16, 32, (32, 16, 3, 3)), (16, 16, 16, (16, 1, 3, 3))],
    ids=["groups", "not all of them", "depthwise with two channels each", "depthwise"],
)
def test_groups_of_few_channels_are_joined(channels: int, group: int, outputs: int, joined: tuple[int, ...]) -> None:
    weights = {"ws": (channels, 3, 3, 3), "wg": (outputs, channels // group, 3, 3), "bg": (outputs,), "wl": (6, outputs, 1, 1)}
    before, after = exported(GROUPED.replace("GROUP", str(group)), weights | CLIP)
    assert weight_shapes(before)["grouped"] == (outputs, channels // group, 3, 3)
    assert weight_shapes(after)["grouped"] == joined


def test_groups_at_the_end_of_a_network_which_run_in_float_stay() -> None:
    text = """net (float[N,3,16,16] x) => (float[N,8,16,16] y) {
      [first] a = Conv <pads=[1,1,1,1]> (x, ws) [relu] b = Relu (a) [grouped] y = Conv <group=4> (b, wg) }"""
    assert weight_shapes(exported(text, {"ws": (16, 3, 3, 3), "wg": (8, 4, 1, 1)})[1])["grouped"] == (8, 4, 1, 1)


def test_channels_that_a_layer_in_float_reads_beside_integers_stay_as_few_as_they_are() -> None:
    text = """net (float[N,8,16,16] x) => (float[N,8,18,18] y, float[N,8,16,16] z) {
      [few] a = Conv <pads=[1,1,1,1]> (x, ws) [float] y = ConvTranspose (a, wt)
      [gap] g = GlobalAveragePool (x) [gate] c = Conv (g, wg) [min] z = Min (c, a) }"""
    _, deploy = exported(text, {"ws": (8, 8, 3, 3), "wt": (8, 8, 3, 3), "wg": (8, 8, 1, 1)}, channels=8)
    few = next(node for node in deploy.graph if node.name == "few")
    assert few.inputs[1].producer().inputs[0].shape.numpy() == (8, 8, 3, 3)


@pytest.mark.parametrize("around", ["pad, , axes", "pad, nothing, axes"])
@pytest.mark.parametrize("reader", ["Conv (c, wp)", "MaxPool <kernel_shape=[2,2]> (c)"])
def test_a_pad_of_some_axes_adds_nothing_along_the_others(around: str, reader: str) -> None:
    text = f"""net (float[N,3,16,16] x) => (float[N,6,h,w] y) {{
      [first] a = Conv <pads=[1,1,1,1]> (x, ws) [relu] b = Relu (a) [pad] c = Pad (b, {around})
      [second] d = {reader} [last] y = Conv (d, wl) }}"""
    values = {"ws": (6, 3, 3, 3), "wp": (6, 6, 1, 1), "wl": (6, 6, 1, 1), "pad": np.array([1, 2, 0, 1])}
    exported(text, values | {"axes": np.array([-2, 3]), "nothing": np.float32(0)}, opset=18)


def test_a_result_that_is_rounded_in_two_ways_gets_no_channels() -> None:
    """As a record says that somebody has edited: the zeros would be cut off for one of the two readers alone."""
    text = """net (float[N,4,16,16] x) => (float[N,16,16,16] y) { [first] a = Conv <pads=[1,1,1,1]> (x, ws)
      [one] b = Conv (a, wp) [other] c = Conv (a, wq) [sum] d = Add (b, c) [last] y = Relu (d) }"""
    model = ir.load_bytes(net(text, ws=(12, 4, 3, 3), wp=(16, 12, 1, 1), wq=(16, 12, 1, 1)).SerializeToString())
    data = [{"x": np.random.default_rng(seed).standard_normal((1, 4, 16, 16)).astype(np.float32)} for seed in range(4)]
    record = quantize(model, data, ORT, options=ONE_THREAD).record
    layers = [replace(e, activation=replace(e.activation, scale=(0.05,))) if e.key == "one" else e for e in record.layers]
    exports = convert(model, replace(record, layers=tuple(layers)), config=ORT, data=data, options=ONE_THREAD).exports
    assert exports.deploy is not None
    assert weight_shapes(exports.deploy)["first"] == (12, 4, 3, 3)
    require_equal(exports, data)
