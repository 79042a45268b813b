"""For ONNX Runtime a BatchNormalization between integers becomes a depthwise Conv, and a Concat in front of it joins codes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from small_nets import ONE_THREAD, images, kernels, net

from amct_lite import ir
from amct_lite.config import QuantConfig
from amct_lite.converting import convert
from amct_lite.diagnosis.compare import compare
from amct_lite.exporters.rewrites.norms import fractions
from amct_lite.passes.channel_affine import ChannelAffine
from amct_lite.pipeline import quantize
from amct_lite.record import read_record
from amct_lite.result import QuantizeResult
from amct_lite.runtime import open_session

ORT = QuantConfig(target="ort", bias_correction="none")
RANDOM = np.random.default_rng(3)


def norm(channels: int) -> dict[str, np.ndarray]:
    """gamma (of both signs, one 0), beta, mean and variance."""
    gamma, beta, mean = RANDOM.standard_normal((3, channels)).astype(np.float32)
    gamma[1] = 0
    return {f"{name}{channels}": array for name, array in zip("gbmv", (gamma, beta, mean, mean**2 + 0.3), strict=True)}


NUMBERS = {"w8": (8, 8, 3, 3), "w16": (8, 16, 1, 1), "w24": (8, 24, 1, 1), "two": np.array([2, 2])}
VALUES = NUMBERS | {name: array for channels in (8, 16, 24) for name, array in norm(channels).items()}
RESIDUAL = """net (float[N,3,16,16] x) => (float[N,8,H,W] y) {
  [stem] a = Conv <pads=[1,1,1,1]> (x, w1)
  [norm] b = BatchNormalization (a, g8, b8, m8, v8) [relu] c = Relu (b) [one] d = Conv <pads=[1,1,1,1]> (c, w8)
  [add] e = Add (d, a) [last] f = BatchNormalization (e, g8, b8, m8, v8) [two] y = Conv <pads=[1,1,1,1]> (f, w8) }"""
DENSE = """net (float[N,3,16,16] x) => (float[N,8,H,W] y) {
  [stem] a = Conv <pads=[1,1,1,1]> (x, w1) [act] a2 = Relu (a) [pool] p = MaxPool <kernel_shape=[2,2]> (a2)
  [n0] b = BatchNormalization (p, g8, b8, m8, v8) [r0] c = Relu (b) [one] d = Conv <pads=[1,1,1,1]> (c, w8)
  [cat1] e = Concat <axis=1> (p, d)
  [n1] f = BatchNormalization (e, g16, b16, m16, v16) [r1] h = Relu (f) [two] i = Conv (h, w16)
  CAT
  [n2] k = BatchNormalization (j, g24, b24, m24, v24) [r2] l = Relu (k) [three] y = Conv (l, w24) }"""
FLAT = DENSE.replace("CAT", "[cat2] j = Concat <axis=-3> (p, d, i)")
NESTED = DENSE.replace("CAT", "[cat2] j = Concat <axis=1> (e, i)")
SEEN = FLAT.replace("[two] i = Conv (h, w16)", "[two] i = Conv (h, w16) [also] z = Conv (e, w16)").replace(
    "(float[N,8,H,W] y)", "(float[N,8,H,W] y, float[N,8,H,W] z)"
)


def quantized(text: str, *, opset: int = 17) -> QuantizeResult:
    return quantize(ir.load_bytes(net(text, opset=opset, **VALUES).SerializeToString()), images(8), ORT, options=ONE_THREAD)


@pytest.mark.parametrize("text", [RESIDUAL, FLAT, NESTED], ids=["residual", "flat", "nested"])
@pytest.mark.parametrize("opset", [13, 17, 21])
def test_all_between_the_first_rounding_and_the_last_layer_is_integer(text: str, opset: int) -> None:
    """The last Conv gives floats, so it is one; MaxPool and Concat move codes, whatever this ONNX Runtime calls them."""
    found = kernels(quantized(text, opset=opset))
    assert found["BatchNormalization"] == found["Relu"] == found["QLinearConcat"] == 0
    assert found["QuantizeLinear"] == 1
    assert found["QLinearConv"] == {RESIDUAL: 4, FLAT: 6, NESTED: 6}[text]


@pytest.mark.parametrize("text", [RESIDUAL, FLAT, NESTED, SEEN], ids=["residual", "flat", "nested", "seen"])
def test_each_normalization_gives_the_codes_that_the_float_one_gives(text: str) -> None:
    """Fed the same values, and run node by node: but for ties, which one in a thousand may come near to, and by one code."""
    result = quantized(text)
    assert result.exports.deploy is not None
    models = [ir.clone(result.exports.fake_quant), ir.clone(result.exports.deploy)]
    for model in models:
        first = next(n for n in model.graph if n.op_type == "QuantizeLinear" and _behind_norm(n))
        model.graph.outputs.append(first.outputs[0])
    ours, theirs = (open_session(model, ONE_THREAD.runtime, optimize=False) for model in models)
    for sample in images(2, seed=5, batch=2):
        left, right = (session.run(sample)[-1].astype(np.int16) for session in (ours, theirs))
        left = left + (128 if left.min() < 0 else 0)
        assert np.abs(left - right).max() <= 1
        assert np.count_nonzero(left - right) <= left.size / 1000


def _behind_norm(node: ir.Node) -> bool:
    """Whether `node` rounds what a normalization, or the Conv that stands for it, gives."""
    while node.op_type in {"QuantizeLinear", "Relu"}:
        node = node.inputs[0].producer()
        if node is None:
            return False
    return node.name in {"norm", "n0"}


@pytest.mark.parametrize("text", [FLAT, NESTED], ids=["flat", "nested"])
def test_what_is_joined_for_normalizations_keeps_scales_of_its_own(text: str) -> None:
    """No tensor is rounded twice: the normalizations behind take the scales into their weights."""
    entries = quantized(text).record.by_key
    joined = [entries[key].activation for key in ("cat1:0", "cat1:1", "cat2:2" if text is FLAT else "cat2:1")]
    assert len(set(joined)) == 3
    assert "n0:0" in entries
    assert not {"n1:0", "n2:0", "cat2:0" if text is NESTED else ""} & entries.keys()
    assert joined[0].zero_point == (-128,), "the Relu in front of the MaxPool vanishes into its own range"


def test_what_a_layer_reads_too_has_one_scale() -> None:
    entries = quantized(SEEN).record.by_key
    assert entries["cat1:0"].activation == entries["cat1:1"].activation == entries["n1:0"].activation


def test_what_it_computes_is_compared_with_the_tensor_of_the_float_model() -> None:
    deploy = quantized(RESIDUAL).exports.deploy
    assert deploy is not None
    found = compare(ir.load_bytes(net(RESIDUAL, **VALUES).SerializeToString()), deploy, images(4))
    assert {"b", "f"} <= {row.name for row in found.tensors}
    assert all(row.sqnr_db > 25 for row in found.tensors)


def test_channels_that_are_joined_already_are_not_joined_again() -> None:
    """Copies of few channels are slow."""
    deploy = quantized(FLAT).exports.deploy
    assert deploy is not None
    first, second = (node for node in deploy.graph if node.op_type == "Concat")
    assert len(first.inputs) == len(second.inputs) == 2
    assert second.inputs[0] is first.outputs[0]


@pytest.mark.parametrize(("channels", "shape"), [(12, (12, 12, 1, 1)), (16, (16, 1, 1, 1)), (136, (144, 1, 1, 1))])
def test_what_the_depthwise_kernel_has_no_whole_blocks_for_is_a_product_with_a_diagonal_matrix(
    channels: int, shape: tuple[int, ...]
) -> None:
    """Unless it would be a large one."""
    text = f"""net (float[N,3,16,16] x) => (float[N,8,8,8] y) {{
      [stem] a = Conv (x, first) [pool] p = MaxPool <kernel_shape=[2,2], strides=[2,2]> (a)
      [norm] b = BatchNormalization (p, g{channels}, b{channels}, m{channels}, v{channels}) [relu] c = Relu (b)
      [last] y = Conv (c, behind) }}"""
    model = net(text, first=(channels, 3, 1, 1), behind=(8, channels, 1, 1), **norm(channels))
    result = quantize(ir.load_bytes(model.SerializeToString()), images(4), ORT, options=ONE_THREAD)
    assert result.exports.deploy is not None
    (conv,) = (node for node in result.exports.deploy.graph if node.name == "norm")
    codes = ir.constant_of(conv.inputs[1].producer().inputs[0])
    assert codes.shape == shape
    assert np.count_nonzero(codes) == channels - 1, "one has gamma 0"
    assert kernels(result)["QLinearConv"] == 2, "the last one gives floats"


def test_the_record_alone_gives_the_same_model_again(tmp_path) -> None:
    result = quantized(FLAT)
    files = result.save(tmp_path / "n")
    model = ir.load_bytes(net(FLAT, **VALUES).SerializeToString())
    again = convert(model, read_record(tmp_path / "n_record.txt"), config=ORT, bias_correction="none", options=ONE_THREAD)
    assert files
    assert again.exports.deploy is not None
    assert result.exports.deploy is not None
    assert ir.to_bytes(again.exports.deploy) == ir.to_bytes(result.exports.deploy)


def test_a_record_without_one_of_the_joined_tensors_gives_a_model_in_float_there() -> None:
    """It is still right, which the end of each run checks."""
    result = quantized(FLAT)
    record = result.record
    fewer = type(record)(tuple(entry for entry in record.layers if entry.key != "cat2:2"))
    model = ir.load_bytes(net(FLAT, **VALUES).SerializeToString())
    found = kernels(convert(model, fewer, config=ORT, bias_correction="none", options=ONE_THREAD))
    assert found["BatchNormalization"] == 1


@pytest.mark.parametrize(
    ("body", "output"),
    [
        ("[norm] y = BatchNormalization (p, g8, b8, m8, v8)", "float[N,8,8,8] y"),
        ("[norm] b = BatchNormalization (p, g8, b8, m8, v8) [s] y = Softmax (b)", "float[N,8,8,8] y"),
        (
            "[flat] f = Reshape (p, rows) [n] b = BatchNormalization (f, g8, b8, m8, v8) [one] y = Conv <pads=[1,1]> (b, k)",
            "float[N,8,L] y",
        ),
    ],
    ids=["the end of the network", "a reader of floats", "a signal"],
)
def test_it_stays_where_no_image_of_integers_comes_and_goes(body: str, output: str) -> None:
    text = f"net (float[N,3,16,16] x) => ({output}) {{ [stem] a = Conv <pads=[1,1,1,1]> (x, w1) [m] p = MaxPool <kernel_shape="
    more = {"rows": np.array([0, 8, -1]), "k": (8, 8, 3)}
    model = net(f"{text}[2,2], strides=[2,2]> (a) {body} }}", **VALUES, **more)
    result = quantize(ir.load_bytes(model.SerializeToString()), images(4), ORT, options=ONE_THREAD)
    assert kernels(result)["BatchNormalization"] == 1


@pytest.mark.parametrize("target", ["ascend", "generic"])
def test_other_targets_keep_it(target: str) -> None:
    model = ir.load_bytes(net(RESIDUAL.replace("float[N,3", "float[1,3"), **VALUES).SerializeToString())
    result = quantize(model, images(4), QuantConfig(target=target), options=ONE_THREAD)
    for exported in filter(None, (result.exports.fake_quant, result.exports.deploy)):
        assert Counter(node.op_type for node in exported.graph)["BatchNormalization"] == 2


@pytest.mark.parametrize("text", [RESIDUAL, FLAT], ids=["residual", "flat"])
def test_it_stays_where_its_result_is_finer_by_far(text: str) -> None:
    """A Clip leaves nothing but the smallest values: one code of x is worth thousands of those behind."""
    text = (
        text.replace("[relu] c = Relu (b)", "[relu] c = Clip (b, low, high)")
        .replace(
            "(e, g8, b8, m8, v8) [two] y = Conv <pads=[1,1,1,1]> (f, w8)",
            "(e, g8, b8, m8, v8) [near] f2 = Clip (f, low, high) [two] y = Conv <pads=[1,1,1,1]> (f2, w8)",
        )
        .replace("[r1] h = Relu (f)", "[r1] h = Clip (f, low, high)")
    )
    values = VALUES | {"low": np.float32(-0.001), "high": np.float32(0.001)}
    result = quantize(ir.load_bytes(net(text, **values).SerializeToString()), images(8), ORT, options=ONE_THREAD)
    assert result.exports.deploy is not None
    assert "BatchNormalization" in {node.op_type for node in result.exports.deploy.graph}


def test_fractions_stand_for_the_numbers() -> None:
    """The bias is off by half a 127th of a code at most, mostly by far less; the weight by float32's last bit."""
    rng = np.random.default_rng(0)
    affine = ChannelAffine(rng.standard_normal(500), 3 * rng.standard_normal(500))
    whole = fractions(affine, 0.02)
    unit = whole.scale.astype(np.float64) * 0.02
    np.testing.assert_allclose(whole.weight * whole.scale.astype(np.float64), affine.scale, rtol=1e-7)
    off = np.abs(whole.bias * unit - affine.shift) / np.abs(affine.scale * 0.02)
    assert off.max() <= 1 / 254 + 1e-6 * np.abs(affine.shift / affine.scale).max() / 0.02
    assert np.median(off) < 1 / 254 / 50


@pytest.mark.parametrize(
    ("scale", "shift", "weight"),
    [(0.0, 0.0, 0), (0.0, -0.7, 0), (1e-12, 3.0, 0), (-2.0, 0.0, -1), (1e-42, 0.0, 0), (2.0, 1e3, 1)],
)
def test_channels_with_nothing_but_a_bias_and_those_without(scale: float, shift: float, weight: int) -> None:
    whole = fractions(ChannelAffine(np.array([scale]), np.array([shift])), 0.5)
    assert whole.weight.tolist() == [weight]
    assert np.isfinite(whole.scale).all()
    assert (whole.scale > 0).all()
    np.testing.assert_allclose(whole.bias * whole.scale.astype(np.float64) * 0.5, shift, rtol=1e-6)
    assert np.abs(whole.bias).max() < 1 << 30
