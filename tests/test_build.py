"""From prepared model, record and statistics to both exported models."""

from dataclasses import replace

import numpy as np
import pytest
from layer_cases import BY_ID, layer_node, named
from onnx_check import full_check
from passes.graphs import feeds_for, parse
from small_nets import ONE_THREAD, images, net

from amct_lite import ir
from amct_lite.build import Exports, build_exports
from amct_lite.calibration.runner import collect
from amct_lite.calibration.store import Statistics
from amct_lite.config import QuantConfig
from amct_lite.correction.full import measure_shifts
from amct_lite.decide import decide
from amct_lite.pipeline import quantize
from amct_lite.plan import resolve
from amct_lite.types import QuantRecord

OPSET = '<ir_version: 8, opset_import: ["": 13]>'
DYNAMIC = "g (float[N,3,8,8] x, float[4,3,3,3] w, float[4] b) => (float[N,4,6,6] y) { y = Conv (x, w, b) }"


def calibrated(model: ir.Model, *sizes: int) -> tuple[QuantRecord, Statistics, list[dict[str, np.ndarray]]]:
    plan = resolve(QuantConfig(algorithm="minmax"), model)
    feeds = [feeds_for(model, size=size, seed=size) for size in sizes]
    for one in feeds:
        one["x"] += np.float32(1)  # means to correct
    statistics = collect(model, plan, feeds).statistics
    return decide(model, plan, statistics.sketches).record, statistics, feeds


def build(model: ir.Model, record: QuantRecord, statistics: Statistics | None = None, **changed: object) -> Exports:
    arguments = {"target": "ascend", "bias_correction": "none", "input_shapes": {}} | changed
    return build_exports(model, record, statistics=statistics, **arguments)


def dynamic() -> ir.Model:
    return named(parse(DYNAMIC, "w b", OPSET))


def test_a_shape_that_all_batches_had_becomes_the_static_one() -> None:
    model = dynamic()
    record, statistics, _ = calibrated(model, 2, 2)
    exports = build(model, record, statistics)
    assert exports.shapes == {"x": (2, 3, 8, 8)}
    assert exports.samples == 4
    assert ir.dims_of(exports.deploy.graph.inputs[0]) == (2, 3, 8, 8)
    assert ir.dims_of(exports.deploy.graph.outputs[0]) == (2, 4, 6, 6)
    assert ir.dims_of(exports.fake_quant.graph.inputs[0])[0] == "N", "the fake-quant model stays dynamic"


def test_without_statistics_the_shapes_are_those_that_the_model_says() -> None:
    fixed = named(parse(DYNAMIC.replace("N", "3"), "w b", OPSET))
    record, _, _ = calibrated(fixed, 3)
    assert build(fixed, record).shapes == {"x": (3, 3, 8, 8)}
    assert build(dynamic(), record).shapes == {}


def test_a_given_shape_counts_more_than_the_data() -> None:
    model = dynamic()
    record, statistics, _ = calibrated(model, 2, 2)
    exports = build(model, record, statistics, input_shapes={"x": (1, 3, 8, 8)})
    assert exports.shapes == {"x": (1, 3, 8, 8)}
    assert ir.dims_of(exports.deploy.graph.outputs[0]) == (1, 4, 6, 6)


@pytest.mark.parametrize("known", [True, False])
def test_without_a_shape_there_is_a_fake_quant_model_and_a_problem(known: bool) -> None:
    model = dynamic()
    record, statistics, _ = calibrated(model, 1, 2)
    exports = build(model, record, statistics if known else None)
    assert exports.deploy is None
    assert '--input-shape "x:1,3,8,8"' in str(exports.deploy_problem)
    full_check(exports.fake_quant)


def test_the_generic_target_has_no_deploy_model() -> None:
    model = BY_ID["conv1d"].model()
    record = decide_generic(model)
    exports = build(model, record, target="generic")
    assert (exports.deploy, exports.deploy_problem) == (None, None)


def decide_generic(model: ir.Model) -> QuantRecord:
    plan = resolve(QuantConfig(target="generic", algorithm="minmax"), model)
    return decide(model, plan, collect(model, plan, [feeds_for(model)]).statistics.sketches).record


@pytest.mark.parametrize("method", ["none", "analytic", "full"])
def test_the_same_inputs_give_the_same_bytes(method: str) -> None:
    model = dynamic()
    record, statistics, feeds = calibrated(model, 2, 2)
    if method == "full":
        statistics = replace(statistics, bias_shifts=measure_shifts(model, record, feeds))
    first, second = (build(model, record, statistics, bias_correction=method) for _ in range(2))
    assert ir.to_bytes(first.fake_quant) == ir.to_bytes(second.fake_quant)
    assert ir.to_bytes(first.deploy) == ir.to_bytes(second.deploy)


def bias_of(exports: Exports) -> np.ndarray:
    return ir.constant_of(layer_node(exports.corrected).inputs[2])


def test_each_way_of_bias_correction_takes_effect_in_both_models() -> None:
    model = dynamic()
    record, statistics, feeds = calibrated(model, 2, 2)
    shifts = measure_shifts(model, record, feeds)
    full = replace(statistics, bias_shifts=shifts)
    plain = build(model, record, statistics)
    analytic = build(model, record, statistics, bias_correction="analytic")
    measured = build(model, record, full, bias_correction="full")
    original = ir.constant_of(layer_node(model).inputs[2])
    np.testing.assert_array_equal(bias_of(plain), original)
    np.testing.assert_allclose(bias_of(measured), original - shifts["Conv_0"], rtol=1e-6, atol=1e-7)
    assert not np.array_equal(bias_of(analytic), original)
    for exports in (plain, analytic, measured):
        step = record.layers[0].weight.scales * np.float32(record.layers[0].activation.scale[0])
        expected = np.rint(bias_of(exports).astype(np.float64) / step)
        codes = [v for v in exports.deploy.graph.initializers.values() if v.dtype == ir.DataType.INT32]
        np.testing.assert_array_equal(codes[0].const_value.numpy(), expected)


def test_full_without_measured_shifts_falls_back_to_the_analytic_one() -> None:
    model = dynamic()
    record, statistics, _ = calibrated(model, 2)
    full, analytic = (build(model, record, statistics, bias_correction=method) for method in ("full", "analytic"))
    np.testing.assert_array_equal(bias_of(full), bias_of(analytic))


def test_layers_that_cannot_be_corrected_are_told() -> None:
    model = BY_ID["matmul"].model()
    record, statistics, _ = calibrated(model, 1)
    exports = build(model, record, statistics, bias_correction="analytic")
    assert [(s.node, s.reason) for s in exports.skips] == [("MatMul_0", "no bias correction: there is none to correct")]


def test_without_statistics_nothing_is_corrected() -> None:
    model = dynamic()
    record, *_ = calibrated(model, 2)
    assert build(model, record, None, bias_correction="full").corrected is model


def test_a_last_batch_of_another_size_is_told_where_a_shape_is_missing() -> None:
    record, statistics, _ = calibrated(dynamic(), 4, 4, 3)
    assert statistics.shapes == {"x": None}
    problem = str(build(dynamic(), record, statistics).deploy_problem)
    assert "--input-shape" in problem
    assert problem.endswith("The batches of the calibration differ: input 'x' had (4, 3, 8, 8) first, (3, 3, 8, 8) later.")
    assert build(dynamic(), record, statistics, input_shapes={"x": (4, 3, 8, 8)}).deploy is not None


def test_a_layer_is_judged_without_what_its_bias_takes_back_for_others() -> None:
    """The measured correction makes up for the layers in front, which is no error of the layer itself."""
    figures = {}
    for correction in ("analytic", "full"):
        config = QuantConfig(bits=4, weight_bits=4, bias_correction=correction)
        result = quantize(ir.load_bytes(net().SerializeToString()), images(), config, options=ONE_THREAD)
        figures[correction] = {row.name: row.sqnr_db for row in result.report.layers}
    assert figures["full"] == figures["analytic"]
