"""A HardSigmoid between integers is an addition whose codes saturate, or has the codes of what it is computed of; a HardSwish
is that and a product."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from small_nets import ONE_THREAD, kernels, net, require_alike, require_equal, run

from amct_lite import ir
from amct_lite.config import QuantConfig
from amct_lite.diagnosis.compare import compare
from amct_lite.pipeline import quantize
from amct_lite.result import QuantizeResult

NET = """net (float[N,3,12,12] x) => (float[N,8,12,12] y) {
  [stem] a = Conv <pads=[1,1,1,1]> (x, w) ACTIVATION [last] e = Conv (b, wl) [end] y = Relu (e) }"""
PARTS = {"w": (8, 3, 3, 3), "wl": (8, 8, 1, 1), "three": np.float32(3), "six": np.float32(6), "zero": np.float32(0)}
SWISH = "[act] b = HardSwish (a)"
BY_HAND = "[plus] p = Add (a, three) [bound] c = Clip (p, zero, six) [times] m = Mul (a, c) [over] b = Div (m, six)"
GATE = "[gate] b = HardSigmoid (a)"


def samples(scale: float = 3.0, batch: int = 1) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    return [{"x": rng.standard_normal((batch, 3, 12, 12)).astype(np.float32) * np.float32(scale)} for _ in range(8)]


def quantized(activation: str, *, opset: int = 17, scale: float = 3.0, **settings: Any) -> QuantizeResult:
    model = net(NET.replace("ACTIVATION", activation), opset=opset, **PARTS)
    config = QuantConfig(target="ort", **settings)
    return quantize(ir.load_bytes(model.SerializeToString()), samples(scale), config, options=ONE_THREAD)


@pytest.mark.parametrize("opset", [14, 17, 22])
@pytest.mark.parametrize("activation", [SWISH, BY_HAND])
def test_a_hard_swish_between_layers_is_integers_throughout(activation: str, opset: int) -> None:
    """Its factors have the same codes, those of one kept within those of 0 and 1; nothing below -3 has a code of its own."""
    result = quantized(activation, opset=opset)
    found = kernels(result)
    assert found["Clip"] == found["QLinearMul"] == found["QuantizeLinear"] == 1
    assert not {"HardSigmoid", "Mul", "HardSwish", "QLinearAdd"} & found.keys()
    (data, gate) = (entry.activation for entry in result.record.layers if entry.key in {"act:0", "act:1", "over:0", "over:1"})
    assert data.zero_point[0] + 128 == round(3 / data.scale[0])
    assert (gate.scale[0], gate.zero_point) == (pytest.approx(data.scale[0] / 6), (-128,))


@pytest.mark.parametrize("line", ["alpha=0.2, beta=0.0", "alpha=-0.2, beta=0.5", "alpha=0.2, beta=-0.1"])
def test_what_is_no_sum_with_a_positive_number_stays_float(line: str) -> None:
    result = quantized(f"[gate] b = HardSigmoid <{line}> (a)")
    assert kernels(result)["HardSigmoid"] == 1
    require_equal(result.exports, samples())


def test_symmetric_ranges_stay_symmetric_around_a_hard_swish() -> None:
    """A range that begins at -3, with a whole number of steps to 0, is none."""
    record = quantized(SWISH, symmetric=True, scale=0.7).record
    assert {"act:0", "act:1"} <= record.by_key.keys()
    assert {entry.activation.zero_point for entry in record.layers} == {(0,)}


def test_codes_that_do_not_begin_at_zero_do_not_saturate_there() -> None:
    """As with a symmetric range: then it is computed in float."""
    result = quantized(GATE, symmetric=True)
    assert kernels(result)["QLinearAdd"] == 0
    require_equal(result.exports, samples())


@pytest.mark.parametrize(
    ("activation", "scale"),
    [(SWISH, 0.01), (SWISH, 0.3), (f"{SWISH.replace('b', 'h')} [more] b = Add (h, a)", 0.3)],
    ids=["far within", "within", "read by others"],
)
def test_a_hard_swish_of_data_that_do_not_reach_its_bound_keeps_their_range(activation: str, scale: float) -> None:
    """From -3 on it would be far wider. The sum is one, then, and so is the Add of the last case."""
    result = quantized(activation, scale=scale)
    (data,) = (entry.activation for entry in result.record.layers if entry.key == "act:0")
    assert (data.zero_point[0] + 128) * data.scale[0] < 1.5
    assert kernels(result)["QLinearAdd"] == 1 + ("more" in activation)


def test_data_that_others_read_keep_what_lies_below_the_bound() -> None:
    """Both ends of the codes are kept within bounds then: those of 0 and of 1."""
    result = quantized(f"{SWISH.replace('b', 'h')} [more] b = Add (h, a)", scale=10.0)
    (data,) = (entry.activation for entry in result.record.layers if entry.key == "act:0")
    assert (data.zero_point[0] + 128) * data.scale[0] > 4
    found = kernels(result)
    assert (found["Clip"], found["QLinearAdd"], found["QLinearMul"]) == (1, 1, 1)
    require_alike(result.exports, samples(10.0)[:2], 100)


@pytest.mark.parametrize("activation", [SWISH, BY_HAND])
def test_codes_that_are_kept_give_what_the_fake_quant_model_gives(activation: str) -> None:
    require_alike(quantized(activation, scale=8.0).exports, samples(8.0)[:3], 100)


@pytest.mark.parametrize("scale", [0.01, 0.5, 3.0, 40.0])
@pytest.mark.parametrize("activation", [SWISH, GATE, "[gate] b = HardSigmoid <alpha = 0.3, beta = 0.7> (a)"])
def test_it_gives_the_codes_of_the_hard_sigmoid_but_for_ties(activation: str, scale: float) -> None:
    """Of all codes at most one in a hundred lies where the two ways to write the sum round to both sides of a half, and is one
    apart then; the layer behind it, whose weights are all 1 here, adds eight of them."""
    result = quantized(activation, scale=scale)
    assert result.exports.deploy is not None
    for sample in samples(scale)[:2]:
        ours, theirs = (run(model, sample)[0] for model in (result.exports.deploy, result.exports.fake_quant))
        step = np.ptp(theirs) / 255
        assert np.abs(ours - theirs).max() <= 2 * step
        assert np.mean(ours != theirs) < 0.05


def test_it_is_known_again_by_its_name() -> None:
    """Where the codes are floats again, as the sum is another number."""
    squeeze = "[gate] g = HardSigmoid (a) [times] b = Mul (g, a)"
    result = quantized(squeeze)
    assert "HardSigmoid" not in kernels(result)
    float_model = ir.load_bytes(net(NET.replace("ACTIVATION", squeeze), **PARTS).SerializeToString())
    assert result.exports.deploy is not None
    found = compare(float_model, result.exports.deploy, samples()[:2], runtime=ONE_THREAD.runtime)
    (row,) = (row for row in found.tensors if row.name == "g")
    assert min(row.sqnr_db, row.isolated_db) > 40
    assert "g" not in found.unmatched


def test_every_code_of_every_grid_is_that_of_the_hard_sigmoid_or_beside_it_at_a_tie() -> None:
    """All 256 codes of data on a hundred grids: the two differ where the exact value lies within float rounding of a half."""
    rng = np.random.default_rng(1)
    codes = np.arange(256)
    for _ in range(100):
        data = ((codes - rng.integers(256)) * np.float32(rng.uniform(0.005, 0.1))).astype(np.float32)
        scale = np.float32(rng.uniform(0.5, 1) / 255)
        exact = np.clip(data.astype(np.float64) / 6 + 0.5, 0, 1) / np.float64(scale)
        hard = np.clip(np.rint(np.clip(data * np.float32(1 / 6) + np.float32(0.5), 0, 1) / scale), 0, 255)
        added = np.clip(np.rint((data + np.float32(3)) / np.float32(scale / (1 / 6))), 0, 255)
        apart = hard != added
        assert np.abs(hard - added).max() <= 1
        assert (np.abs(exact[apart] % 1 - 0.5) < 1e-4).all()


def test_the_range_of_a_gate_ends_at_one() -> None:
    """A range method may look beyond what it saw; codes above 1 would not saturate."""
    result = quantized(GATE, scale=40.0)
    (entry,) = (layer for layer in result.record.layers if layer.key == "last")
    assert entry.activation.scale[0] * 255 <= 1
    assert kernels(result)["QLinearAdd"] == 1


def test_a_grid_around_zero_keeps_the_hard_sigmoid() -> None:
    """Its codes go below zero and would not saturate there."""
    result = quantized(SWISH, symmetric=True)
    assert kernels(result)["HardSigmoid"] == 1


def test_a_falling_one_stays() -> None:
    assert kernels(quantized("[gate] b = HardSigmoid <alpha = -0.2> (a)"))["HardSigmoid"] == 1


def test_one_whose_floats_are_an_output_stays() -> None:
    text = NET.replace("ACTIVATION", GATE).replace("(float[N,8,12,12] y)", "(float[N,8,12,12] y, float[N,8,12,12] b)")
    model = ir.load_bytes(net(text, **PARTS).SerializeToString())
    result = quantize(model, samples(), QuantConfig(target="ort"), options=ONE_THREAD)
    assert kernels(result)["HardSigmoid"] == 1


def test_batches_of_several_images_are_computed_alike() -> None:
    result = quantized(SWISH)
    assert result.exports.deploy is not None
    (wide,) = samples(batch=3)[:1]
    ours = run(result.exports.deploy, wide)[0]
    apart = [run(result.exports.deploy, {"x": wide["x"][i : i + 1]})[0] for i in range(3)]
    np.testing.assert_array_equal(ours, np.concatenate(apart))


@pytest.mark.parametrize("skipped", ["act", "act.hardsigmoid"])
def test_a_configuration_that_skips_it_leaves_all_of_it_in_float(skipped: str) -> None:
    found = kernels(quantized(SWISH, skip=(skipped,)))
    assert found["Conv"] + found["FusedConv"] == 2  # the second kind takes a HardSigmoid in
    assert not {"QLinearConv", "QLinearAdd", "QLinearMul"} & found.keys()


def test_other_targets_keep_the_operator() -> None:
    model = net(NET.replace("ACTIVATION", SWISH), **PARTS)
    for target in ("ascend", "generic"):
        result = quantize(ir.load_bytes(model.SerializeToString()), samples(), QuantConfig(target=target), options=ONE_THREAD)
        assert [node.op_type for node in result.exports.fake_quant.graph if node.name == "act"] == ["HardSwish"]


@pytest.mark.parametrize("bound", ["Relu (g)", "Clip (g, half, most)"])
def test_a_bound_behind_a_hard_sigmoid_stays(bound: str) -> None:
    """Codes that saturate at the ends of the HardSigmoid would not at those of the bound."""
    text = NET.replace("ACTIVATION", f"[gate] g = HardSigmoid (a) [bound] b = {bound}")
    model = net(text, **PARTS, half=np.float32(0.5), most=np.float32(0.8))
    exports = quantize(
        ir.load_bytes(model.SerializeToString()), samples(), QuantConfig(target="ort"), options=ONE_THREAD
    ).exports
    require_equal(exports, samples()[:1])


@pytest.mark.parametrize(
    "behind",
    [
        "p = GlobalAveragePool (a) g = HardSigmoid (p) [last] y = Conv (g, wide)",  # becomes a Gemm of the one pixel
        "b = HardSigmoid (a) [last] e = Conv (b, wide) y = Relu (e)",  # three channels become four
    ],
)
def test_who_reads_its_codes_has_the_scale_behind_it(behind: str) -> None:
    """The QuantizeLinear of the sum has one that is 1/alpha times as large."""
    text = f"net (float[1,3,12,12] x) => (float[1,16,H,W] y) {{ [stem] a = Conv <pads=[1,1,1,1]> (x, w) {behind} }}"
    model = ir.load_bytes(net(text, w=(3, 3, 3, 3), wide=(16, 3, 1, 1)).SerializeToString())
    result = quantize(model, samples(), QuantConfig(target="ort"), options=ONE_THREAD)
    assert not kernels(result)["HardSigmoid"]
    require_alike(result.exports, samples()[:2], 35)  # a code at a tie may be one apart
