"""Convolutions of few channels compute blocks of neighbouring pixels for ONNX Runtime; not a bit of a result changes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_nets import ONE_THREAD, net, require_equal
from test_channels import CLIP, ORT, PARTS, SUMMED, exported, weight_shapes

from amct_lite import ir
from amct_lite.exporters.rewrites.columns import Folded, Row
from amct_lite.pipeline import quantize
from amct_lite.runtime import optimized

STEM = """net (float[N,C,H,W] x) => (float[N,8,h,w] y) {
  [stem] a = Conv <ATTRIBUTES> (x, ws, bs) [act] b = Relu (a)
  [last] c = Conv (b, wl) [end] y = Relu (c) }"""
PADDED = "pads=[1,1,1,1]"


def stem(
    channels: int = 3,
    outputs: int = 16,
    kernel: tuple[int, int] = (3, 3),
    attributes: str = PADDED,
    size: tuple[int, int] = (32, 32),
) -> tuple[str, dict[str, object], int, tuple[int, int]]:
    text = STEM.replace("ATTRIBUTES", attributes).replace("N,C,H,W", f"N,{channels},{size[0]},{size[1]}")
    return text, {"ws": (outputs, channels, *kernel), "bs": (outputs,), "wl": (8, outputs, 1, 1)}, channels, size


CASES = {
    "colours": (stem(), (64, 12, 3, 3)),
    "stride 2": (stem(attributes="strides=[2,2], pads=[1,1,1,1]", size=(64, 64)), (64, 24, 3, 2)),
    "rows apart": (stem(attributes="strides=[2,1], pads=[0,1,1,1]", size=(64, 64)), (64, 12, 3, 3)),
    "many taps": (stem(kernel=(7, 7), attributes="pads=[3,3,3,3]"), (64, 12, 7, 3)),
    "more pads in front": (stem(kernel=(5, 5), attributes="pads=[4,4,0,0]"), (64, 12, 5, 2)),
    "more pads behind": (stem(kernel=(5, 5), attributes="pads=[0,0,4,4]"), (64, 12, 5, 2)),
    "one row": (stem(kernel=(1, 7), attributes="pads=[0,3,0,3]"), (64, 12, 1, 3)),
    "pads that follow from the size": (stem(kernel=(2, 2), attributes='auto_pad="SAME_UPPER"'), (64, 12, 2, 2)),
    "and lie in front": (
        stem(attributes='auto_pad="SAME_LOWER", strides=[2,2]', size=(64, 64)), (64, 24, 3, 2)),
    "grey": (stem(channels=1, kernel=(5, 5), attributes="pads=[2,2,2,2]"), (128, 8, 5, 3)),
    "few results, filled up": (stem(outputs=9, kernel=(5, 5), attributes="pads=[2,2,2,2]"), (80, 24, 5, 3)),
    "channels enough for two": (stem(channels=8, kernel=(5, 5), attributes="pads=[2,2,2,2]"), (32, 16, 5, 3)),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_neighbours_become_channels_where_these_are_few(case: str) -> None:
    arguments, shape = CASES[case]
    assert weight_shapes(exported(*arguments)[1])["stem"] == shape


KEPT = {
    "many channels": stem(channels=32, size=(32, 32)),
    "many results": stem(outputs=64),
    "few pixels": stem(size=(16, 16)),
    "a row of odd length": stem(size=(32, 33)),
    "a row that ends early": stem(attributes="pads=[1,1,1,0]"),
    "taps apart": stem(attributes="pads=[2,2,2,2], dilations=[2,2]"),
    "pads that ONNX Runtime makes negative": stem(
        kernel=(1, 3), attributes='auto_pad="SAME_UPPER", strides=[4,1]', size=(64, 64)
    ),
    "one tap": stem(kernel=(3, 1), attributes="pads=[1,0,1,0]"),
}


@pytest.mark.parametrize("case", KEPT)
def test_where_it_gains_nothing_the_kernel_keeps_its_form(case: str) -> None:
    text, values, channels, size = KEPT[case]
    before, after = exported(text, values, channels, size)
    assert weight_shapes(before)["stem"][2:] == weight_shapes(after)["stem"][2:]


def test_nothing_is_moved_for_it() -> None:
    """One Transpose puts the channels of the image behind its pixels, and one those of the result in front."""
    arguments, _ = CASES["colours"]
    found = Counter(node.op_type for node in optimized(exported(*arguments)[1]).graph)
    assert (found["Transpose"], found["Pad"], found["Reshape"]) == (2, 0, 2)


@pytest.mark.parametrize("batch", ["N", "2"])
@pytest.mark.parametrize("opset", [13, 21])
def test_batches_and_opsets(batch: str, opset: int) -> None:
    text, values, _, size = stem()
    samples = [{"x": np.random.default_rng(k).standard_normal((2, 3, *size)).astype(np.float32)} for k in range(4)]
    model = ir.load_bytes(net(text.replace("float[N,3", f"float[{batch},3"), opset=opset, **values).SerializeToString())
    exports = quantize(model, samples, ORT, options=ONE_THREAD).exports
    assert exports.deploy is not None
    assert weight_shapes(exports.deploy)["stem"] == (64, 12, 3, 3)
    require_equal(exports, samples[:1])


def test_one_folded_convolution_reads_another_and_others_see_the_image() -> None:
    text = """net (float[N,3,32,32] x) => (float[N,8,32,32] y, float[N,16,32,32] z) {
      [stem] a = Conv <pads=[3,3,3,3]> (x, ws, bs) [act] b = Relu (a)
      [next] c = Conv <pads=[2,2,2,2]> (b, wn) [high] d = Relu (c)
      [also] z = Sigmoid (b) [last] e = Conv (d, wl) [end] y = Relu (e) }"""
    values = {"ws": (16, 3, 7, 7), "bs": (16,), "wn": (16, 16, 5, 5), "wl": (8, 16, 1, 1)}
    shapes = weight_shapes(exported(text, values, 3, (32, 32))[1])
    assert (shapes["stem"], shapes["next"]) == ((64, 12, 7, 3), (32, 32, 5, 3))


def test_a_layer_that_got_wider_for_a_depthwise_one_behind_computes_blocks_too() -> None:
    shapes = weight_shapes(exported(SUMMED.replace("16,16", "32,32"), PARTS | CLIP, 3, (32, 32))[1])
    assert (shapes["stem"], shapes["dw"]) == ((64, 12, 3, 3), (16, 1, 3, 3))


@given(
    taps=st.integers(2, 9),
    front=st.integers(0, 8),
    stride=st.sampled_from([1, 2, 4]),
    block=st.sampled_from([4, 8]),
    blocks=st.integers(1, 3),
)
def test_a_folded_row_gives_what_the_row_gave(taps: int, front: int, stride: int, block: int, blocks: int) -> None:
    folded, pixels = Folded(Row(taps, stride, min(front, taps - 1)), block), block * blocks
    rng = np.random.default_rng(taps)
    weight, image = rng.integers(-9, 9, (3, 2, 1, taps)), rng.integers(-9, 9, (pixels, 2))
    row = np.pad(image, [(folded.row.front, taps), (0, 0)])
    wanted = [np.einsum("oct,tc->o", weight[:, :, 0], row[at : at + taps]) for at in range(0, pixels, stride)]
    packed = np.pad(image.reshape(blocks, -1), [(folded.front, folded.behind), (0, 0)])
    found = [np.einsum("oct,tc->o", folded.weight(weight)[:, :, 0], packed[at : at + folded.taps]) for at in range(blocks)]
    np.testing.assert_array_equal(np.reshape(found, (-1, 3)), wanted)
