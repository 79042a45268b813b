"""From sketches to a record, and the repairs without which a bias would not fit."""

from dataclasses import replace

import numpy as np
import pytest
from layer_cases import BY_ID, named
from passes.graphs import feeds_for, outputs_of, parse

from amct_lite import ir
from amct_lite.calibration.runner import collect
from amct_lite.config import QuantConfig
from amct_lite.decide import Decision, activation_qparams, decide
from amct_lite.errors import CalibrationError
from amct_lite.exporters import ascend, qdq
from amct_lite.exporters.integers import quantized_layers
from amct_lite.numerics.metrics import sqnr_db
from amct_lite.plan import resolve
from amct_lite.types import QParams, QuantPlan
from amct_lite.validate.equivalence import verify_deploy

OPSET = '<ir_version: 8, opset_import: ["": 13]>'
MINMAX = QuantConfig(algorithm="minmax")
CONV = "g (float[1,3,8,8] x, float[4,3,3,3] w, float[4] b) => (float[1,4,6,6] y) { y = Conv (x, w, b) }"


def decided(model: ir.Model, config: QuantConfig = MINMAX, seeds: tuple[int, ...] = (1, 2)) -> tuple[QuantPlan, Decision]:
    plan = resolve(config, model)
    feeds = [feeds_for(model, seed=seed) for seed in seeds]
    return plan, decide(model, plan, collect(model, plan, feeds).statistics.sketches)


def test_the_factors_are_those_of_range_and_weight() -> None:
    model = BY_ID["conv2d"].model()
    _, decision = decided(model)
    (entry,) = decision.record.layers
    data = np.stack([feeds_for(model, seed=seed)["x"] for seed in (1, 2)])
    low, high = float(data.min()), float(data.max())
    assert entry.activation.scale[0] == pytest.approx((high - low) / 255, rel=1e-6)
    assert entry.activation.zero_point[0] == -128 - round(low / entry.activation.scale[0])
    weight = ir.constant_of(next(iter(model.graph)).inputs[1])
    # |min| is divided by 128, max by 127 (contract, section 5)
    rows = weight.reshape(5, -1).astype(np.float64)
    expected = np.where(rows.max(1) >= -rows.min(1), rows.max(1) / 127, -rows.min(1) / 128)
    np.testing.assert_allclose(entry.weight.scales, expected, rtol=1e-6)
    assert decision.repairs == {}


@pytest.mark.parametrize("case_id", ["conv2d_group", "deconv_group", "gemm", "matmul_left", "matmul_two", "pool", "conv1d"])
@pytest.mark.parametrize("algorithm", ["ifmr", "kl", "mse"])
def test_decisions_keep_the_signal(case_id: str, algorithm: str) -> None:
    model = BY_ID[case_id].model()
    _, decision = decided(model, QuantConfig(target="generic", algorithm=algorithm), seeds=(1, 2, 3, 4))
    feeds = feeds_for(model, seed=1)
    (exact,), (quantized,) = outputs_of(model, feeds), outputs_of(qdq.export(model, decision.record), feeds)
    # 8 bits of a normal variable: some 40 dB each for data and weight; KL clips small tensors harder
    assert sqnr_db(exact, quantized) > (15 if algorithm == "kl" else 30)


def test_the_second_factor_of_a_product_has_a_scale_of_its_own() -> None:
    model = BY_ID["matmul_two"].model()
    plan = resolve(MINMAX, model)
    feeds = feeds_for(model)
    feeds["x2"] = feeds["x2"] * np.float32(10)
    (entry,) = decide(model, plan, collect(model, plan, [feeds]).statistics.sketches).record.layers
    assert entry.weight.scale[0] == pytest.approx(max(feeds["x2"].max() / 127, -feeds["x2"].min() / 128), rel=1e-6)
    assert entry.weight.zero_point == entry.activation.zero_point == (0,)


def overflow(dead: bool) -> ir.Model:
    """Channel 1: weights far below its bias (dead: none at all), so that bias / (scale_d · scale_w) leaves int32."""
    rng = np.random.default_rng(5)
    weight = rng.normal(size=(4, 3, 3, 3)).astype(np.float32)
    weight[1] *= 0 if dead else 1e-4
    bias = np.array([0.3, 2e8 if dead else 500, -0.5, 0.1], np.float32)
    return named(parse(CONV, w=weight, b=bias, header=OPSET))


@pytest.mark.parametrize("per_channel", ["all", "none"])
@pytest.mark.parametrize("dead", [False, True])
def test_a_bias_that_would_overflow_raises_the_scale_just_enough(dead: bool, per_channel: str) -> None:
    model = overflow(dead)
    _, decision = decided(model, QuantConfig(algorithm="minmax", per_channel=per_channel))
    if per_channel == "none" and not dead:
        assert decision.repairs == {}  # one scale for all channels is large enough
    else:
        where = "the scale of 1 of 4 channels" if per_channel == "all" else "its scale"
        assert decision.repairs == {"Conv_0": f"raised {where} so that the bias fits into int32"}
    (item,) = quantized_layers(model, decision.record)
    steps = item.layer.bias_array / item.accumulator_scale.astype(np.float64)
    assert np.abs(steps).max() <= 2**30 * (1 + 1e-5)
    if decision.repairs:
        assert np.abs(steps).max() == pytest.approx(2**30, rel=1e-5)


@pytest.mark.parametrize("dead", [False, True])
def test_a_repaired_layer_keeps_its_accuracy_in_both_models(dead: bool) -> None:
    model = overflow(dead)
    _, decision = decided(model)
    feeds = [feeds_for(model, seed=seed) for seed in (1, 2)]
    fake, deploy = qdq.export(model, decision.record), ascend.export(model, decision.record)
    verify_deploy(deploy, fake, feeds)
    for one in feeds:
        (exact,), (quantized,) = outputs_of(model, one), outputs_of(fake, one)
        for channel in range(4):
            assert sqnr_db(exact[:, channel], quantized[:, channel]) > 30, channel


def test_a_dead_channel_without_bias_is_harmless() -> None:
    weight = np.random.default_rng(5).normal(size=(4, 3, 3, 3)).astype(np.float32)
    weight[2] = 0
    model = named(parse(CONV, w=weight, b=np.zeros(4, np.float32), header=OPSET))
    _, decision = decided(model)
    assert decision.record.layers[0].weight.scale[2] == 1.0
    assert decision.repairs == {}, "nothing is lost of it"
    (got,) = outputs_of(qdq.export(model, decision.record), feeds_for(model))
    assert not got[:, 2].any()


def test_a_shared_weight_is_decided_once_but_along_each_axis() -> None:
    text = """g (float[1,3,5,5] x, float[3,3,3,3] w) => (float[1,3,5,5] y)
        { h = Conv (x, w) k = Conv <pads = [1, 1, 1, 1]> (h, w) y = ConvTranspose (k, w) }"""
    model = named(parse(text, "w", OPSET))
    _, decision = decided(model, QuantConfig(target="generic", algorithm="minmax"))
    first, second, transposed = (entry.weight for entry in decision.record.layers)
    assert first == second
    assert first != transposed
    weight = ir.constant_of(next(iter(model.graph)).inputs[1])
    largest = np.abs(np.moveaxis(weight, 1, 0).reshape(3, -1)).max(axis=1)
    np.testing.assert_allclose(transposed.scales, largest / 127.5, rtol=0.005)  # by 127 or by 128
    feeds = feeds_for(model, seed=1)
    (exact,), (quantized,) = outputs_of(model, feeds), outputs_of(qdq.export(model, decision.record), feeds)
    assert sqnr_db(exact, quantized) > 25  # three layers of 8 bits


def test_statistics_of_another_model_are_an_error_that_names_the_tensor() -> None:
    model = BY_ID["conv2d"].model()
    with pytest.raises(CalibrationError, match=r"holds nothing about tensor 'x'.*Calibrate again with data"):
        decide(model, resolve(MINMAX, model), {})


def test_a_weight_that_is_not_finite_is_an_error_that_names_the_layer() -> None:
    weight = np.ones((4, 3, 3, 3), np.float32)
    weight[1, 0, 0, 0] = np.nan
    model = named(parse(CONV, w=weight, b=np.zeros(4, np.float32), header=OPSET))
    plan = resolve(MINMAX, model)
    clean = named(parse(CONV, "w b", OPSET))
    sketches = collect(clean, plan, [feeds_for(clean)]).statistics.sketches
    with pytest.raises(CalibrationError, match=r"the weight of Conv_0 \(Conv\): .*channel 1.*skip the layer"):
        decide(model, plan, sketches)


def test_the_same_statistics_give_the_same_record() -> None:
    model = BY_ID["conv2d_group"].model()
    assert decided(model)[1] == decided(model)[1]


def test_a_tensor_read_along_two_axes_is_observed_for_each_and_quantized_once() -> None:
    text = """g (float[1,3,6,6] x, float[4,3,3,3] w, float[6,5] w2) => (float[1,4,4,4] y, float[1,3,6,5] z)
        { y = Conv (x, w) z = MatMul (x, w2) }"""
    model = named(parse(text, "w w2", OPSET))
    plan, decision = decided(model)
    assert [(t.name, t.channel_axis, t.channels) for t in plan.tensors] == [("x", 1, 3), ("x", -1, 6)]
    first, second = decision.record.layers
    assert first.activation == second.activation
    assert sum(node.op_type == "AscendQuant" for node in ascend.export(model, decision.record).graph) == 1


def test_weights_too_small_for_a_scale_are_told() -> None:
    """1e-6 / 127 lies below float32's epsilon: AMCT's rule gives such a channel scale 1, and every weight becomes 0."""
    weight = np.full((4, 3, 3, 3), 0.5, np.float32)
    weight[1], weight[2] = 1e-6, 0
    model = named(parse(CONV, "", OPSET, w=weight, b=np.zeros(4, np.float32)))
    _, decision = decided(model)
    assert decision.record.layers[0].weight.scale[1:3] == (1.0, 1.0)
    assert decision.repairs == {"Conv_0": "all weights of 1 of 4 channels become 0: below 2e-05 they are too small for a scale"}


@pytest.mark.parametrize(
    ("factor", "told"),
    [
        (0.0, {"Conv_0": "its input is 0 in all samples"}),
        (1e-8, {"Conv_0": "all values of its input become 0: below 3e-05 they are too small for a scale"}),
        (1.0, {}),
        (1e4, {}),
    ],
)
def test_data_too_small_for_a_scale_are_told(factor: float, told: dict[str, str]) -> None:
    model = named(parse(CONV, "", OPSET, w=np.full((4, 3, 3, 3), 0.5, np.float32), b=np.zeros(4, np.float32)))
    plan = resolve(QuantConfig(algorithm="minmax"), model)
    feeds = [{name: array * np.float32(factor) for name, array in feeds_for(model, seed=1).items()}]
    assert decide(model, plan, collect(model, plan, feeds).statistics.sketches).repairs == told


def test_data_of_which_a_step_is_1_are_not_taken_for_too_small_ones() -> None:
    """As pixels from 0 to 255 are: 1 is the scale of what is too small for one, too."""
    model = named(parse(CONV, "", OPSET, w=np.full((4, 3, 3, 3), 0.5, np.float32), b=np.zeros(4, np.float32)))
    plan = resolve(MINMAX, model)
    pixels = np.resize(np.arange(256, dtype=np.float32), (2, 1, 3, 8, 8))
    pixels[-1, -1, -1, -1, -1] = 255
    decision = decide(model, plan, collect(model, plan, [{"x": image} for image in pixels]).statistics.sketches)
    assert decision.record.layers[0].activation == QParams.of(1.0, -128)
    assert decision.repairs == {}


def test_channels_along_another_axis_do_not_serve_a_layer() -> None:
    """Its range would be right, but not the means that its bias is corrected by."""
    text = """g (float[1,3,6,6] x, float[4,3,3,3] w, float[6,5] w2) => (float[1,4,4,4] y, float[1,3,6,5] z)
        { y = Conv (x, w) z = MatMul (x, w2) }"""
    model = named(parse(text, "w w2", OPSET))
    plan = resolve(MINMAX, model)
    sketches = collect(model, plan, [feeds_for(model)]).statistics.sketches
    with pytest.raises(CalibrationError, match="holds nothing about tensor 'x'"):
        decide(model, plan, {key: sketch for key, sketch in sketches.items() if key[1] != 1})


def test_tensors_of_one_grid_get_the_range_that_holds_them_all() -> None:
    """A Concat of integers hands codes on as they are, so what it joins has one scale, and what it gives, too."""
    text = """g (float[1,3,6,6] x, float[4,3,3,3] w, float[4,3,3,3] v, float[2,8,1,1] u) => (float[1,2,4,4] y) {
        [narrow] a = Conv (x, w) [wide] b = Conv (x, v) [cat] c = Concat <axis = 1> (a, b) [last] y = Conv (c, u) }"""
    rng = np.random.default_rng(2)
    narrow = rng.normal(size=(4, 3, 3, 3)).astype(np.float32)
    model = named(parse(text, "u", OPSET, w=narrow, v=narrow * np.float32(-20)))
    plan, decision = decided(model, QuantConfig(target="ort", algorithm="minmax"), seeds=(1,))
    found = {entry.key: entry.activation for entry in decision.record.layers}
    assert found["cat:0"] == found["cat:1"] == found["last"]
    sketches = collect(model, plan, [feeds_for(model, seed=1)]).statistics.sketches
    alone = {tensor.name: activation_qparams(tensor, sketches).scale for tensor in plan.tensors}
    assert found["last"].scale == alone["b"]
    assert alone["b"][0] > 10 * alone["a"][0]


BOUNDED = """g (float[1,3,6,6] x, float[4,3,3,3] w, float[2,4,1,1] v, float low, float high) => (float[1,2,4,4] y) {
    [first] a = Conv (x, w) [bound] b = Clip (a, low, high) MOVED [last] y = Conv (b, v) }"""


@pytest.mark.parametrize("moved", ["", "[pool] c = MaxPool <kernel_shape = [1, 1]> (b)"], ids=["alone", "one grid"])
def test_a_range_never_goes_beyond_what_a_clip_leaves(moved: str) -> None:
    """Whatever the method finds: here it takes a fifth more."""
    text = BOUNDED.replace("MOVED", moved).replace("Conv (b, v)", "Conv (c, v)" if moved else "Conv (b, v)")
    model = named(parse(text, "w v", OPSET, low=np.float32(0), high=np.float32(0.5)))
    beyond = QuantConfig(target="ort", options={"search_range": [1.2, 1.3]})
    for config, most in ((beyond, 0.5), (replace(beyond, target="generic"), 0.65)):
        _, decision = decided(model, config)
        data = decision.record.by_key["last"].activation
        assert (127 - data.zero_point[0]) * data.scale[0] == pytest.approx(most, rel=0.09)
        assert ((127 - data.zero_point[0]) * data.scale[0] <= 0.5) is (config.target == "ort")


def test_what_a_node_that_is_left_out_would_join_keeps_its_own_range() -> None:
    text = """g (float[1,3,6,6] x, float[4,3,3,3] w, float[4,3,3,3] v, float[2,8,1,1] u) => (float[1,2,4,4] y) {
        [narrow] a = Conv (x, w) [wide] b = Conv (x, v) [cat] c = Concat <axis = 1> (a, b) [last] y = Conv (c, u) }"""
    model = named(parse(text, "w v u", OPSET))
    assert all(tensor.grid for tensor in resolve(QuantConfig(target="ort"), model).tensors if tensor.name != "x")
    assert not any(tensor.grid for tensor in resolve(QuantConfig(target="ort", skip=("cat",)), model).tensors)
